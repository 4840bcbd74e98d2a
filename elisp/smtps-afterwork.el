;;; smtps-afterwork.el --- What happens once a mail was accepted  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Mail modes file copies, mark the mail that was answered and delete the
;; draft as soon as their send function returns.  Here that is kept with
;; the mail in the outbox, as `afterwork.sexp', and done when a server has
;; accepted the mail, by whoever comes first: the helper, this Emacs, or
;; another one after a restart.
;;
;; The file has a form a line, data of closed kinds.  A form with
;; `:client' is done in an Emacs that has that client loaded; the others
;; are the helper's.  Whoever renames the file does it; what is left goes
;; back to the first name, and a form that failed has the reason as its
;; `:failed'.  The helper's name for it is afterwork.locked, an Emacs's
;; afterwork.PID-STARTED.HOST: by these it is known whether that Emacs lives.
;;
;; Each client has a file smtps-CLIENT.el with four functions:
;;
;; smtps-CLIENT-buffer-p     Is the current buffer one of its own?
;; smtps-CLIENT-collect      Return the forms for the mail composed in the
;;                           current buffer.  It may ask and signal: the
;;                           mail is then not sent.
;; smtps-CLIENT-take-over    Keep the client from doing in the current
;;                           buffer what the forms stand for, by
;;                           `smtps-afterwork-take-header' and
;;                           `smtps-afterwork-take-variable', which can be
;;                           undone.  It must not signal.
;; smtps-CLIENT-carry-out    Do FORM with the mail in MESSAGE-FILE, or
;;                           signal an error with a sentence.  It must not
;;                           ask unless `smtps-afterwork-may-ask'.
;;
;; There may be smtps-CLIENT-ready-p, which tells whether FORM can be done
;; now; until then it waits.  A form's `:here' names the one Emacs that can
;; do it, and its `:field' is the header field that it stands for, which
;; comes back when the mail is edited again.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)
(require 'smtps-wire)
(require 'smtps-outbox)

(declare-function smtps-credentials--can-ask-p "smtps-credentials" ())
(defvar smtps-send--entry)

(define-error 'smtps-afterwork-error "Afterwork" 'smtps-error)

(defconst smtps-afterwork-clients
  '((gnus . gnus-msg)
    (mu4e . mu4e)
    (notmuch . notmuch-mua)
    (message . message)
    (mail . sendmail))
  "The clients: an alist of names and of features that tell they are loaded.
A buffer belongs to the first whose smtps-CLIENT-buffer-p says so.")

(defconst smtps-afterwork--emacs-own '(message mail)
  "Those clients that come with Emacs, and need nothing but to be loaded.")

(defun smtps-afterwork--function (client what)
  "Return the function of CLIENT for WHAT, a string; nil if it isn't loaded."
  (let ((feature (alist-get client smtps-afterwork-clients)))
    (when (and feature (featurep feature)
               (require (intern (format "smtps-%s" client)) nil t))
      (intern (format "smtps-%s-%s" client what)))))

(defun smtps-afterwork-client ()
  "Return the client that the mail in the current buffer is composed with."
  (cl-find-if (lambda (client)
                (let ((own-p (smtps-afterwork--function client "buffer-p")))
                  (and own-p (funcall own-p))))
              (mapcar #'car smtps-afterwork-clients)))

(defun smtps-afterwork-refuse (format-string &rest arguments)
  "Signal `smtps-afterwork-error' with FORMAT-STRING applied to ARGUMENTS."
  (signal 'smtps-afterwork-error
          (list (apply #'format-message format-string arguments))))

;;; Before the mail goes into the outbox

(defconst smtps-afterwork--bcc-characters 8192
  "Characters of the header Bcc in a form; at most 64 KB are a line.")

(defvar-local smtps-afterwork-inherited nil
  "Forms of the mail that this buffer's is made of, which follow this one, too.")

(defun smtps-afterwork-collect (composed envelope)
  "Return the forms of afterwork.sexp for the mail composed in buffer COMPOSED.
ENVELOPE is the mail's, as `smtps-outbox-put' takes it, and has its
header `:bcc', text or nil.  Return nil if nothing is to follow."
  (when composed
    (with-current-buffer composed
      (let* ((client (smtps-afterwork-client))
             (forms (and client
                         (funcall (smtps-afterwork--function client "collect"))))
             (account (plist-get envelope :account)))
        (setq forms (append forms smtps-afterwork-inherited))
        ;; Its provider files what is sent.
        (when (plist-get account :server-keeps-sent)
          (setq forms (cl-remove 'fcc forms :key #'car)))
        (when forms
          `((afterwork :version 1 :message-id ,(plist-get envelope :message-id))
            ;; Where many are in it, a line does not hold it.
            ,@(mapcar (lambda (part) (list 'bcc part))
                      (seq-partition (or (plist-get envelope :bcc) "")
                                     smtps-afterwork--bcc-characters))
            ,@forms))))))

;;; Taking over, and giving back

(defvar-local smtps-afterwork--taken nil
  "What was taken over from this buffer: functions that put it back.")
;; A major mode that starts over in the same buffer composes another mail.
(put 'smtps-afterwork--taken 'permanent-local nil)

(defun smtps-afterwork-take-over ()
  "Keep the current buffer's client from doing what is done later."
  (smtps-afterwork-give-back)
  (let ((client (smtps-afterwork-client)))
    (when client
      (funcall (smtps-afterwork--function client "take-over")))))

(defun smtps-afterwork-give-back ()
  "Put back into the current buffer what was taken over from it."
  (while smtps-afterwork--taken
    (funcall (pop smtps-afterwork--taken))))

(defun smtps-afterwork-take-variable (variable value)
  "Give VARIABLE the VALUE in the current buffer, until it is given back."
  (let ((local (local-variable-p variable))
        (former (and (boundp variable) (symbol-value variable))))
    (set (make-local-variable variable) value)
    (push (lambda ()
            (if local (set (make-local-variable variable) former)
              (kill-local-variable variable)))
          smtps-afterwork--taken)))

(defun smtps-afterwork--header-end ()
  "Return the end of the header in the current buffer."
  (save-excursion
    (goto-char (point-min))
    (if (re-search-forward
         (concat "^" (regexp-quote (or (bound-and-true-p mail-header-separator)
                                       ""))
                 "$")
         nil t)
        (match-beginning 0)
      (point-max))))

(defmacro smtps-afterwork--quietly (&rest body)
  "Evaluate BODY in all of the buffer, whose modification it does not show."
  (declare (indent 0) (debug t))
  `(with-silent-modifications
     (let ((buffer-undo-list t))
       (save-excursion
         (save-restriction
           (widen)
           ,@body)))))

(defun smtps-afterwork-take-header (name)
  "Take the header fields called NAME out of the current buffer.
They come back when it is given back."
  (let ((fields nil)
        (case-fold-search t))
    (smtps-afterwork--quietly
      (goto-char (point-min))
      (while (re-search-forward
              (concat "^" (regexp-quote name) "[ \t]*:.*\n\\(?:[ \t].*\n\\)*")
              (smtps-afterwork--header-end) t)
        (push (match-string 0) fields)
        (replace-match "" t t)))
    (when fields
      (push (lambda ()
              (smtps-afterwork--quietly
                (goto-char (smtps-afterwork--header-end))
                (apply #'insert (reverse fields))))
            smtps-afterwork--taken))))

;;; The file

(defvar smtps-afterwork--under-way nil
  "The mail whose afterwork is being done here, or nil.")

(defconst smtps-afterwork--name "afterwork.sexp"
  "The file's name while nobody works on it.")

(defconst smtps-afterwork--looked-at 1000
  "Mails that were sent last, in which something left to be done is looked for.")

(defun smtps-afterwork-waiting ()
  "Return the accepted mails of which something is left to be done."
  (cl-loop for state in '(queue failed sent)
           append
           (cl-loop for id in (last (smtps-outbox--names (symbol-name state))
                                    smtps-afterwork--looked-at)
                    for entry = (and (smtps-afterwork--file
                                      (smtps-outbox--directory
                                       (symbol-name state) id))
                                     (smtps-outbox-find id))
                    when (and entry (smtps-afterwork-accepted-p entry)
                              (smtps-afterwork-left entry))
                    collect entry)))

(defun smtps-afterwork--host ()
  "Return this machine's name, as it stands in file names."
  (let ((host (replace-regexp-in-string "[^A-Za-z0-9.]" "-" (system-name))))
    (substring host 0 (min 60 (length host)))))

(defun smtps-afterwork--started (pid)
  "Return when the process PID was started, in ticks since the machine was.
It is a string; nil where proc(5) does not tell."
  (with-temp-buffer
    (when (ignore-error file-error
            (insert-file-contents-literally (format "/proc/%d/stat" pid)))
      (goto-char (point-max))
      ;; What follows the program's name, which may have parentheses.
      (when (search-backward ")" nil t)
        (nth 20 (split-string (buffer-substring (point) (point-max))))))))

(defun smtps-afterwork--file (directory)
  "Return the name of the afterwork file in DIRECTORY, claimed or not, or nil."
  (car (ignore-error file-error
         (directory-files
          directory nil
          "\\`afterwork\\.\\(?:sexp\\|locked\\|[0-9]+\\(?:-[0-9]+\\)?\\.[A-Za-z0-9.-]+\\)\\'"))))

(defconst smtps-afterwork--owner
  "\\([0-9]+\\)\\(?:-\\([0-9]+\\)\\)?\\.\\([A-Za-z0-9.-]+\\)\\'"
  "What `smtps-afterwork-here' returns: number, start and host of an Emacs.")

(defconst smtps-afterwork--claimed-seconds (* 24 60 60)
  "Age of a claim after which it is over, whatever may be known of its owner.
That was another machine's, or this one had another name.")

(defun smtps-afterwork-lives-p (owner file)
  "Return non-nil if OWNER, an Emacs that has written FILE, may be alive.
OWNER is what `smtps-afterwork-here' returned there."
  (save-match-data
    (when (string-match (concat "\\`" smtps-afterwork--owner) owner)
      (let* ((pid (string-to-number (match-string 1 owner)))
             (started (match-string 2 owner))
             (here (equal (match-string 3 owner) (smtps-afterwork--host)))
             (now (and here (smtps-afterwork--started pid)))
             (attributes (and file (file-attributes file))))
        (cond
         ((and here (not (process-attributes pid))) nil)
         ;; Else another has its number now.
         ((and now started) (equal now started))
         ;; Unlike its modification, its renaming is no older than the claim.
         (attributes
          (time-less-p (time-since (file-attribute-status-change-time attributes))
                       smtps-afterwork--claimed-seconds)))))))

(defun smtps-afterwork--claimed-p (directory name)
  "Return non-nil if a process may work on the file called NAME in DIRECTORY."
  (cond
   ;; If it does not, it has died; the next one goes on.
   ((equal name "afterwork.locked"))
   ((equal name smtps-afterwork--name) nil)
   ((equal name (smtps-afterwork--claim)) smtps-afterwork--under-way)
   (t (smtps-afterwork-lives-p (string-remove-prefix "afterwork." name)
                                (concat directory "/" name)))))

(defun smtps-afterwork--form-p (form)
  "Return non-nil if FORM is one as it is written, and can be shown."
  (and (consp form)
       (car form)
       (symbolp (car form))
       (if (eq (car form) 'bcc) (stringp (cadr form))
         (cl-loop for (key value) on (cdr form) by #'cddr
                  always (pcase key
                           ((or :failed :here :what :field :path :group
                                :folder :file :id :query :command)
                            (smtps-outbox--fits-p 'text? value))
                           ((or :client :kind) (symbolp value))
                           ((or :article :modified)
                            (smtps-outbox--fits-p 'number? value))
                           (:articles (smtps-outbox--fits-p 'numbers value))
                           (:tags (and (listp value)
                                       (cl-every #'stringp value)))
                           (_ (keywordp key)))))))

(defconst smtps-afterwork--damaged
  `((afterwork :version 1)
    (damaged :what "what was to follow" :here ""
             :failed ,(concat smtps-afterwork--name " is damaged")))
  "What stands for a file that can't be read: it can be forgotten.")

(defun smtps-afterwork--forms (directory)
  "Return the forms of the afterwork file in DIRECTORY, or nil.
For a damaged one, they are `smtps-afterwork--damaged'."
  (let* ((name (smtps-afterwork--file directory))
         (forms (and name
                     (smtps-outbox--forms (concat directory "/" name)
                                          smtps-outbox--envelope-limit))))
    (cond ((null forms) nil)
          ((and (consp forms)
                (cl-every #'smtps-afterwork--form-p forms)
                (eq (caar forms) 'afterwork)
                (eql (plist-get (cdar forms) :version) 1))
           forms)
          (t smtps-afterwork--damaged))))

(defun smtps-afterwork--head-p (form)
  "Return non-nil if FORM is to be kept as long as any other is."
  (memq (car form) '(afterwork bcc)))

(defun smtps-afterwork-accepted-p (entry)
  "Return non-nil if a server has accepted ENTRY, for one recipient at least."
  (or (eq (plist-get entry :state) 'sent)
      (cl-some (lambda (fate) (eq (plist-get (cdr fate) :verdict) 'accepted))
               (smtps-outbox-fates entry))))

(defun smtps-afterwork-left (entry)
  "Return the forms of what is to follow ENTRY's acceptance and is not done."
  (cl-remove-if #'smtps-afterwork--head-p
                (smtps-afterwork--forms (plist-get entry :directory))))

(defun smtps-afterwork--get (form key)
  "Return the KEY of FORM."
  (plist-get (cdr form) key))

(defun smtps-afterwork-words (form)
  "Return in words what FORM asks for."
  (pcase (car form)
    ('fcc (format "the copy in %s"
                  (or (smtps-afterwork--get form :path)
                      (smtps-afterwork--get form :group)
                      (smtps-afterwork--get form :folder) "?")))
    ('replied "the mark of the mail that this one answers")
    ('tag (format "the tags %s"
                  (string-join (smtps-afterwork--get form :tags) " ")))
    ('draft "the end of the draft")
    (name (or (smtps-afterwork--get form :what) (symbol-name name)))))

(defun smtps-afterwork-sentence (form)
  "Return a sentence that FORM is not done yet, and why."
  (let ((client (smtps-afterwork--get form :client))
        (failed (smtps-afterwork--get form :failed)))
    (format "Not done yet: %s%s" (smtps-afterwork-words form)
            (cond (failed (concat ": " failed))
                  ((smtps-afterwork-lost-p form)
                   (format " (only the Emacs it was composed in could do it, %s)"
                           (smtps-afterwork--where form)))
                  ((and client
                        (not (smtps-afterwork--get form :here))
                        (not (smtps-afterwork--ready-p form t)))
                   (format " (it waits until %s runs)" client))
                  (t "")))))

(defun smtps-afterwork--where (form)
  "Return in words where the one Emacs is that could do FORM."
  (let ((here (smtps-afterwork--get form :here)))
    (if (and (string-match smtps-afterwork--owner here)
             (not (equal (match-string 3 here) (smtps-afterwork--host))))
        (format "and that is on %s" (match-string 3 here))
      "and that is gone")))

(defun smtps-afterwork-lost-p (form)
  "Return non-nil if the one Emacs that could do FORM is gone, or elsewhere."
  (let ((here (smtps-afterwork--get form :here)))
    (and here
         (not (equal here (smtps-afterwork-here)))
         (not (smtps-afterwork-lives-p here nil)))))

(defun smtps-afterwork--write (file forms)
  "Write FORMS into FILE, in place of what it has."
  (let ((new (concat (file-name-directory file) "."
                     (file-name-nondirectory file))))
    (ignore-error file-error (delete-file new))
    (smtps-outbox--write-forms new forms)
    (rename-file new file t)))

;;; Doing it

(defun smtps-afterwork-defers-functions-p ()
  "Return non-nil if a client's functions are to be run later.
In batch the send function returns only once the mail was accepted: the
client then runs them itself."
  (not noninteractive))

(defvar smtps-afterwork--here nil
  "What `smtps-afterwork-here' returns, once it was called.
The machine may get another name meanwhile.")

(defun smtps-afterwork-here ()
  "Return what names this Emacs: the `:here' of what only it can do."
  (or smtps-afterwork--here
      (let ((started (smtps-afterwork--started (emacs-pid))))
        (setq smtps-afterwork--here
              (format "%d%s.%s" (emacs-pid)
                      (if started (concat "-" started) "")
                      (smtps-afterwork--host))))))

(defun smtps-afterwork--claim ()
  "Return the name of the file while this Emacs works on it."
  (concat "afterwork." (smtps-afterwork-here)))

(defun smtps-afterwork--ready-p (form again)
  "Return non-nil if FORM can be done here now; what failed before only AGAIN."
  (let* ((client (smtps-afterwork--get form :client))
         (here (smtps-afterwork--get form :here))
         (ready-p (and client (smtps-afterwork--function client "ready-p"))))
    (and client
         (or again (not (smtps-afterwork--get form :failed)))
         (or (null here) (equal here (smtps-afterwork-here)))
         (smtps-afterwork--function client "carry-out")
         (or (not (fboundp ready-p)) (funcall ready-p form)))))

(defun smtps-afterwork--failed (form reason)
  "Return FORM with REASON as its `:failed'."
  (cons (car form)
        (append (cl-loop for (key value) on (cdr form) by #'cddr
                         unless (eq key :failed) append (list key value))
                (list :failed reason))))

(defun smtps-afterwork--unloaded (directory)
  "Return the clients that are not loaded and that DIRECTORY's file waits for."
  (cl-delete-duplicates
   (cl-loop for form in (smtps-afterwork--forms directory)
            for client = (smtps-afterwork--get form :client)
            for feature = (alist-get client smtps-afterwork-clients)
            when (and feature
                      (not (featurep feature))
                      (not (smtps-afterwork--get form :here))
                      (not (smtps-afterwork--get form :failed)))
            collect client)))

(defun smtps-afterwork-to-load (directory)
  "Return what of Emacs's own has to be loaded for DIRECTORY's file: libraries."
  (cl-loop for client in (smtps-afterwork--unloaded directory)
           when (memq client smtps-afterwork--emacs-own)
           collect (intern (format "smtps-%s" client))))

(defvar smtps-afterwork--awaited nil
  "What to do when clients are loaded: an alist of features and functions.")

(defun smtps-afterwork--loaded (&optional _file)
  "Do what was to be done when a client is loaded, if one is now."
  (let ((due (cl-remove-if-not #'featurep smtps-afterwork--awaited
                               :key #'car)))
    (dolist (one due)
      (setq smtps-afterwork--awaited (delq one smtps-afterwork--awaited))
      ;; Its own set-up may come behind it.
      (run-at-time 0 nil (cdr one)))
    (unless smtps-afterwork--awaited
      (remove-hook 'after-load-functions #'smtps-afterwork--loaded))))

(defun smtps-afterwork-await (directory function)
  "Have FUNCTION called when a client is loaded that DIRECTORY's file waits for.
Return the sentences of what waits so."
  (let ((unloaded (smtps-afterwork--unloaded directory)))
    (dolist (client unloaded)
      (cl-pushnew (cons (alist-get client smtps-afterwork-clients) function)
                  smtps-afterwork--awaited :test #'equal)
      (add-hook 'after-load-functions #'smtps-afterwork--loaded))
    (cl-loop for form in (smtps-afterwork--forms directory)
             when (and (memq (smtps-afterwork--get form :client) unloaded)
                       (not (smtps-afterwork--get form :failed)))
             collect (smtps-afterwork-sentence form))))

(defvar smtps-afterwork-may-ask nil
  "Non-nil if what is being done may ask, and take its time.")

(defun smtps-afterwork-can-ask-p ()
  "Return non-nil if a person is there who can be asked."
  (smtps-credentials--can-ask-p))

(defvar smtps-afterwork-id nil
  "The mail in the outbox whose afterwork is being done.")

(defun smtps-afterwork-helpers-p (directory)
  "Return non-nil if another process has work to do in DIRECTORY's file.
That is one that works on it now, or the helper, which comes to it."
  (let ((name (smtps-afterwork--file directory)))
    (and name
         (or (smtps-afterwork--claimed-p directory name)
             (cl-some (lambda (form)
                        (not (or (smtps-afterwork--head-p form)
                                 (smtps-afterwork--get form :client)
                                 (smtps-afterwork--get form :failed))))
                      (smtps-afterwork--forms directory))))))

(defun smtps-afterwork-needs-buffer-p (id)
  "Return non-nil if the buffer the mail ID was composed in is needed still."
  (let ((entry (smtps-outbox-find id)))
    (and entry
         (or (not (eq (plist-get entry :state) 'failed))
             (smtps-afterwork-accepted-p entry))
         (cl-some (lambda (form)
                    (and (equal (smtps-afterwork--get form :here)
                                (smtps-afterwork-here))
                         (not (smtps-afterwork--get form :failed))))
                  (smtps-afterwork-left entry)))))

(defun smtps-afterwork-forget (id)
  "Forget what only an Emacs that is gone could do for the mail ID."
  (let* ((directory (plist-get (smtps-outbox-find id) :directory))
         (forms (smtps-afterwork--forms directory))
         (left (cl-remove-if #'smtps-afterwork-lost-p forms))
         (file (concat directory "/" smtps-afterwork--name)))
    (if (cl-every #'smtps-afterwork--head-p left)
        (delete-file file)
      (smtps-afterwork--write file left))))

(defvar smtps-afterwork-resumed nil
  "Non-nil if a process that died may have done a part of what is being done.")

(defun smtps-afterwork-run (id &optional again)
  "Do what is to follow the acceptance of the mail ID and can be done here now.
What failed before is tried only AGAIN.  Return sentences on what failed."
  (let* ((entry (smtps-outbox-find id))
         (directory (plist-get entry :directory))
         (name (and entry (smtps-afterwork--file directory)))
         (forms (and name (smtps-afterwork--forms directory)))
         (claim (smtps-afterwork--claim)))
    (when (and forms
               (not smtps-afterwork--under-way)
               (not (smtps-afterwork--claimed-p directory name))
               (cl-some (lambda (form) (smtps-afterwork--ready-p form again))
                        forms)
               (smtps-afterwork-accepted-p entry)
               ;; Who loses this race, stops.
               (ignore-error file-error
                 (rename-file (concat directory "/" name)
                              (concat directory "/" claim) t)
                 t))
      (let ((smtps-afterwork--under-way id)
            (smtps-afterwork-resumed
             (or (not (equal name smtps-afterwork--name))
                 ;; A helper went on before.
                 (smtps-afterwork--get (car forms) :resumed))))
        (smtps-afterwork--each id claim again)))))

(defun smtps-afterwork--place (id name)
  "Return the file NAME of the mail ID, wherever that was moved; nil if nowhere."
  (let* ((state (car (smtps-outbox-states-of id)))
         (file (and state (smtps-outbox--directory (symbol-name state) id name))))
    (and file (file-exists-p file) file)))

(defun smtps-afterwork--each (id claim again)
  "Do each form of the mail ID in the file called CLAIM, which is ours.
AGAIN and the value are those of `smtps-afterwork-run'.  Should it be so no
more, since what was done took longer than a claim lasts, or the mail was
dropped meanwhile, nothing further is done."
  (let* ((smtps-afterwork-id id)
         (forms (smtps-outbox--forms (smtps-afterwork--place id claim)
                                     smtps-outbox--envelope-limit))
         (left (copy-sequence forms))
         (sentences nil))
    (unwind-protect
        (dolist (form forms)
          (when (and (smtps-afterwork--ready-p form again)
                     (smtps-afterwork--place id claim))
            (condition-case problem
                (progn
                  (funcall (smtps-afterwork--function
                            (smtps-afterwork--get form :client) "carry-out")
                           form (smtps-afterwork--place id "message.eml"))
                  (setq left (delq form left)))
              ((error quit)
               (let* ((reason (if (eq (car problem) 'quit) "you quit."
                                (smtps-afterwork--reason problem)))
                      (failed (smtps-afterwork--failed form reason)))
                 (setf (car (memq form left)) failed)
                 (push (smtps-afterwork-sentence failed) sentences))))
            (let ((file (smtps-afterwork--place id claim)))
              (when file (smtps-afterwork--write file left)))))
      (let ((file (smtps-afterwork--place id claim)))
        (cond
         ((null file))
         ((cl-every #'smtps-afterwork--head-p left) (delete-file file))
         (t (rename-file file (concat (file-name-directory file)
                                      smtps-afterwork--name))))))
    (nreverse sentences)))

(defun smtps-afterwork-insert (file)
  "Insert the mail in FILE, with the header that filed copies get back.
Leave point at the beginning."
  (goto-char (point-min))
  (insert-file-contents-literally file)
  (let ((bcc (cl-loop for (name part) in (smtps-afterwork--forms
                                          (directory-file-name
                                           (file-name-directory file)))
                      when (eq name 'bcc) concat part)))
    (unless (equal bcc "")
      (insert (encode-coding-string bcc 'utf-8-unix))
      (unless (bolp) (insert "\n"))))
  (goto-char (point-min)))

(defun smtps-afterwork-composed-in ()
  "Return the buffer that the mail whose afterwork is done was composed in.
Signal `smtps-afterwork-error' if there is none any more."
  (or (cl-find smtps-afterwork-id (buffer-list) :test #'equal
               :key (lambda (buffer)
                      (buffer-local-value 'smtps-send--entry buffer)))
      (smtps-afterwork-refuse "the buffer it was composed in is gone.")))

(defun smtps-afterwork--reason (problem)
  "Return in words why, from the error PROBLEM."
  (if (and (memq (car problem) '(smtps-afterwork-error error user-error))
           (stringp (cadr problem)))
      (if (cddr problem) (error-message-string problem) (cadr problem))
    (error-message-string problem)))

(defun smtps-afterwork-header (entry)
  "Return the header fields that ENTRY's afterwork stands for, text.
They are what the mail had before it was sent."
  (mapconcat
   (lambda (form)
     (let ((field (smtps-afterwork--get form :field)))
       (if (stringp field) field "")))
   (smtps-afterwork--forms (plist-get entry :directory)) ""))

(defun smtps-afterwork-heritage (entry)
  "Return the forms that are to follow the mail which is made of ENTRY.
Those with a header field are not among them: that comes back itself."
  (cl-remove-if (lambda (form)
                  (or (smtps-afterwork--get form :field)
                      (smtps-afterwork--get form :here)))
                (smtps-afterwork-left entry)))

(provide 'smtps-afterwork)
;;; smtps-afterwork.el ends here
