;;; smtps-outbox-edit.el --- Mail that comes back from the outbox to be edited  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A mail that is edited lies in held/ meanwhile, whole, and is dropped
;; once what was made of it is in the outbox.  If the buffer in which it
;; was composed is there still, that comes back; else one is made of the
;; octets in message.eml.  It is then seen to be the same mail: what can't
;; be brought back as it was is not edited.
;;
;; A signature comes back as the tag that signs anew, since the old one
;; fits no other text.  What is encrypted is decrypted only if its user
;; says so, and is then encrypted anew.  A mail that was sent on is another
;; person's: only to whom it goes can be changed.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)
(require 'smtps-outbox)
(require 'smtps-send)
(require 'smtps-afterwork)
;; For its macros.
(eval-when-compile (require 'mm-decode))

(declare-function epg-context-result-for "epg" (context name))
(declare-function epg-decrypt-string "epg" (context cipher))
(declare-function epg-make-context "epg")
(declare-function ietf-drums-parse-addresses "ietf-drums" (string &optional rawp))
(declare-function mail-header-encode-parameter "mail-parse" (param value))
(declare-function message-encode-message-body "message" ())
(declare-function message-fetch-field "message" (header &optional first))
(declare-function message-generate-new-buffer-clone-locals "message"
                  (name &optional varstr))
(declare-function message-goto-body "message" (&optional interactive))
(declare-function message-mode "message" ())
(declare-function message-narrow-to-headers "message" ())
(declare-function message-remove-header "message"
                  (header &optional is-regexp first reverse))
(declare-function mm-charset-to-coding-system "mm-util"
                  (charset &optional lbt allow-override silent))
(declare-function mm-destroy-parts "mm-decode" (handles))
(declare-function mm-dissect-buffer "mm-decode"
                  (&optional no-strict-mime loose-mime from))
(declare-function mm-get-part "mm-decode" (handle &optional no-cache))
(declare-function mm-handle-media-subtype "mm-decode" (handle))
(declare-function mm-handle-media-supertype "mm-decode" (handle))
(declare-function mm-handle-media-type "mm-decode" (handle))
(declare-function mml-destroy-buffers "mml" ())
(declare-function mml-generate-new-buffer "mml" (name))
(declare-function mml-insert-tag "mml" (name &rest plist))
(declare-function mml-quote-region "mml" (beg end))
(declare-function rfc2047-decode-region "rfc2047"
                  (start end &optional address-mime))
(declare-function smtps-undo-restore "smtps-undo" (buffer id))
(defvar mm-coding-system-priorities)
(defvar mml-buffer-list)
(defvar mml-content-disposition-parameters)
(defvar mml-content-type-parameters)
(defvar rfc2047-quote-decoded-words-containing-tspecials)

(defvar-local smtps-outbox-edit--taken nil
  "Non-nil if this buffer's mail was going to be sent by itself before.")

(defvar-local smtps-outbox-edit--then nil
  "What becomes of the mail in the outbox if this buffer is killed, a character.")

(defvar-local smtps-outbox-edit--notes nil
  "Sentences on what is otherwise with this buffer's mail than one may think.")

(defun smtps-outbox-edit--refuse (reason)
  "Signal that the mail can't be edited for REASON, a clause."
  (user-error "%s" (format-message
                    "This mail can't be edited: %s.  It is in the outbox as it was; \
in M-x smtps-outbox, r sends it so, d deletes it" reason)))

;;; The parts of a mail

(defun smtps-outbox-edit--dissect ()
  "Return the MIME handles of the mail in the current buffer, a unibyte one.
Nothing of it is decrypted, verified or unpacked, and each part keeps its type."
  (require 'mm-decode)
  (cl-letf (((symbol-function 'mm-possibly-verify-or-decrypt)
             (lambda (parts &rest _) parts))
            ((symbol-function 'mm-archive-decoders) #'ignore)
            ;; It would guess a type from a file's name.
            ((symbol-function 'mailcap-extension-to-mime) #'ignore))
    (smtps-outbox-edit--parts (mm-dissect-buffer t))))

(defun smtps-outbox-edit--parts (handle)
  "Return HANDLE, in which only a multipart has parts.
Emacs 30 makes a list of what is application/pkcs7-mime, too."
  (cond ((not (smtps-outbox-edit--multipart-p handle)) handle)
        ((string-prefix-p "multipart/" (car handle))
         (cons (car handle) (mapcar #'smtps-outbox-edit--parts (cdr handle))))
        (t (cadr handle))))

(defun smtps-outbox-edit--text (handle)
  "Return the text of the part HANDLE, or nil if it can't be edited as text."
  (when (equal (mm-handle-media-supertype handle) "text")
    (let* ((charset (cdr (assq 'charset (cdr (mm-handle-type handle)))))
           (coding (if charset (mm-charset-to-coding-system charset nil nil t)
                     'utf-8))
           (text (and coding
                      (decode-coding-string
                       (mm-get-part handle)
                       (coding-system-change-eol-conversion
                        (if (eq coding 'ascii) 'utf-8 coding) 'unix)))))
      ;; Octets that stand for no character in it are no text.
      (and text
           (not (string-match-p (string ?\[ #x3fff80 ?- #x3fffff ?\]) text))
           text))))

(defun smtps-outbox-edit--multipart-p (handle)
  "Return non-nil if HANDLE is a multipart: its cdr is the list of its parts."
  (stringp (car handle)))

(defun smtps-outbox-edit--outline (handle)
  "Return what HANDLE is to its reader, to be compared by `equal'.
How it is encoded does not count, nor a multipart/mixed with a single part."
  (if (smtps-outbox-edit--multipart-p handle)
      (let ((parts (mapcar #'smtps-outbox-edit--outline (cdr handle)))
            (kind (mm-handle-media-subtype handle)))
        (if (and (equal kind "mixed") (null (cdr parts))) (car parts)
          (cons kind parts)))
    (let ((disposition (mm-handle-disposition handle))
          (text (smtps-outbox-edit--text handle)))
      (list (mm-handle-media-type handle)
            (cl-loop for parameter in (cdr (mm-handle-type handle))
                     unless (and (eq (car parameter) 'charset) text)
                     collect (cons (car parameter)
                                   (substring-no-properties (cdr parameter)))
                     into parameters
                     finally return (sort parameters
                                          (lambda (a b)
                                            (string< (car a) (car b)))))
            (equal (car disposition) "attachment")
            (cdr (assq 'filename (cdr disposition)))
            (mm-handle-id handle)
            ;; message.el sees to the end of a line before a boundary.
            (if text (string-trim-right text "\n+") (mm-get-part handle))))))

;;; As MML

(defun smtps-outbox-edit--insert (handle plain)
  "Insert the part HANDLE as MML.
If PLAIN, it may be just text, in which nothing tells of a part."
  (cond
   ((not (smtps-outbox-edit--multipart-p handle))
    (smtps-outbox-edit--insert-part handle plain))
   ((member (mm-handle-media-subtype handle) '("signed" "encrypted"))
    (smtps-outbox-edit--refuse "a part of it is signed or encrypted"))
   (t
    (mml-insert-tag
     'multipart
     ;; What it has of properties would be printed, too.
     'type (concat (substring-no-properties (mm-handle-media-subtype handle))
                   (cl-loop for name in '(type report-type)
                            for value = (mm-handle-multipart-ctl-parameter
                                         handle name)
                            when value
                            concat (concat "; " (mail-header-encode-parameter
                                                 (symbol-name name) value))))
     'start (mm-handle-multipart-ctl-parameter handle 'start))
    (dolist (part (cdr handle))
      (smtps-outbox-edit--insert part nil))
    (insert "<#/multipart>\n"))))

(defun smtps-outbox-edit--insert-part (handle plain)
  "Insert HANDLE, which is no multipart, as MML; PLAIN is as for the caller."
  (let* ((text (smtps-outbox-edit--text handle))
         (parameters (cl-remove-if (lambda (parameter)
                                     (and text (eq (car parameter) 'charset)))
                                   (cdr (mm-handle-type handle))))
         (disposition (mm-handle-disposition handle))
         (bare (and plain text
                    (equal (mm-handle-media-type handle) "text/plain")
                    (null parameters)
                    (or (null disposition) (equal disposition '("inline")))
                    (null (mm-handle-id handle)))))
    (unless bare
      (apply #'mml-insert-tag 'part
             (append
              (smtps-outbox-edit--tag handle parameters disposition)
              (if text (list 'nofile (and (assq 'filename (cdr disposition)) "yes"))
                (list 'buffer (smtps-outbox-edit--hidden handle)
                      'raw (and (member (mm-handle-media-supertype handle)
                                        '("text" "message"))
                                "t"))))))
    (when text
      (let ((start (point)))
        (insert text)
        (unless (bolp) (insert "\n"))
        (mml-quote-region start (point))
        (goto-char (point-max))))
    (unless bare
      (insert "<#/part>\n"))))

(defun smtps-outbox-edit--tag (handle parameters disposition)
  "Return the plist of the tag for HANDLE with PARAMETERS and DISPOSITION.
Those of its type that MML does not know are made part of that."
  (let ((known (cl-remove-if-not
                (lambda (parameter)
                  (memq (car parameter) mml-content-type-parameters))
                parameters)))
    (append
     (list 'type
           (concat (mm-handle-media-type handle)
                   (cl-loop for parameter in parameters
                            unless (memq parameter known)
                            concat (concat "; " (mail-header-encode-parameter
                                                 (symbol-name (car parameter))
                                                 (cdr parameter))))))
     (cl-loop for (name . value) in known append (list name value))
     (cl-loop for (name . value) in (cdr disposition)
              when (memq name mml-content-disposition-parameters)
              append (list name value))
     (list 'id (mm-handle-id handle)
           'disposition (car disposition)
           'description (mm-handle-description handle)))))

(defun smtps-outbox-edit--hidden (handle)
  "Return the name of a hidden buffer with the octets of the part HANDLE."
  (let ((octets (mm-get-part handle)))
    (with-current-buffer (mml-generate-new-buffer " *mml*")
      (set-buffer-multibyte nil)
      (insert octets)
      (buffer-name))))

;;; Signed and encrypted

(defun smtps-outbox-edit--open (handle)
  "Return (HANDLE METHOD . WAYS) for HANDLE, what is in it.
METHOD and WAYS, a list of `sign' and `encrypt', are what it was protected by.
To decrypt it, ask first."
  (let ((type (mm-handle-media-type handle)))
    (cond
     ((equal type "multipart/signed")
      (list (cadr handle)
            (if (equal (mm-handle-multipart-ctl-parameter handle 'protocol)
                       "application/pgp-signature")
                "pgpmime"
              "smime")
            'sign))
     ((equal type "multipart/encrypted")
      (smtps-outbox-edit--decrypt (or (nth 2 handle)
                                      (smtps-outbox-edit--refuse
                                       "it is encrypted, and not whole"))
                                  "pgpmime"))
     ((member type '("application/pkcs7-mime" "application/x-pkcs7-mime"))
      (if (equal (cdr (assq 'smime-type (cdr (mm-handle-type handle))))
                 "signed-data")
          (smtps-outbox-edit--refuse "it is one with its signature")
        (smtps-outbox-edit--decrypt handle "smime")))
     (t (list handle nil)))))

(defun smtps-outbox-edit--decrypt (handle method)
  "Return as `smtps-outbox-edit--open' does what is encrypted by METHOD in HANDLE."
  (unless (and (smtps-credentials--can-ask-p)
               (y-or-n-p "This mail is encrypted.  Decrypt it, to edit it? "))
    (smtps-outbox-edit--refuse "it is encrypted"))
  (require 'epg)
  (let* ((context (epg-make-context (if (equal method "smime") 'CMS 'OpenPGP)))
         (text (condition-case problem
                   (epg-decrypt-string context (mm-get-part handle))
                 (error
                  (smtps-outbox-edit--refuse
                   (format "it could not be decrypted (%s)"
                           (error-message-string problem))))))
         (signed (epg-context-result-for context 'verify))
         (inner (with-temp-buffer
                  (set-buffer-multibyte nil)
                  (insert text)
                  (goto-char (point-min))
                  (while (search-forward "\r\n" nil t)
                    (replace-match "\n" t t))
                  (smtps-outbox-edit--dissect))))
    (pcase-let ((`(,handle ,_ . ,ways) (smtps-outbox-edit--open inner)))
      `(,handle ,method ,@(and (or signed (memq 'sign ways)) '(sign)) encrypt))))

;;; The buffer

(defun smtps-outbox-edit--insert-body (handle method ways)
  "Insert HANDLE, the body of a mail, to be protected by METHOD in WAYS."
  (when ways
    (mml-insert-tag 'secure 'method method
                    'mode (mapconcat #'symbol-name ways "")))
  (let ((start (point)))
    (if (and (smtps-outbox-edit--multipart-p handle)
             (equal (mm-handle-media-subtype handle) "mixed"))
        ;; message.el makes one of what has several parts.
        (let ((plain t))
          (dolist (part (cdr handle))
            (smtps-outbox-edit--insert part plain)
            (setq plain nil)))
      (smtps-outbox-edit--insert handle t))
    (unless (equal (smtps-outbox-edit--outline handle)
                   (smtps-outbox-edit--outline-again start))
      (smtps-outbox-edit--refuse
       "sent by message-mode, it would not be the same mail"))))

(defun smtps-outbox-edit--outline-again (start)
  "Return the outline of the body from START, as message.el would send it."
  (let ((mm-coding-system-priorities '(utf-8))
        (body (buffer-substring-no-properties start (point-max)))
        (copy (message-generate-new-buffer-clone-locals " smtps message"))
        (handle nil))
    (unwind-protect
        (with-current-buffer copy
          (insert "Subject: x\n" mail-header-separator "\n" body)
          (message-encode-message-body)
          (goto-char (point-min))
          (re-search-forward (concat "^" (regexp-quote mail-header-separator) "$"))
          (replace-match "")
          (encode-coding-region (point-min) (point-max) 'utf-8-unix)
          (set-buffer-multibyte nil)
          (setq handle (smtps-outbox-edit--dissect))
          (smtps-outbox-edit--outline handle))
      (when handle (mm-destroy-parts handle))
      (kill-buffer copy))))

(defun smtps-outbox-edit-compose (entry)
  "Return a new buffer in which ENTRY is composed, to be sent in its place.
A mail that was sent on is sent so again, to whom the user says; then return
nil.  Signal an error if it can't be brought back as it was."
  (require 'message)
  (require 'mml)
  (require 'rfc2047)
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (let ((file-name-handler-alist nil))
      (insert-file-contents-literally
       (concat (plist-get entry :directory) "/message.eml")))
    (let ((end (smtps-send--header-end "" nil)))
      (if (smtps-send--resent-p (smtps-send--fields end))
          (smtps-outbox-edit--send-on entry end)
        (let ((header (buffer-substring (point-min) end))
              (outer (smtps-outbox-edit--dissect))
              (opened nil))
          (unwind-protect
              (progn
                (setq opened (smtps-outbox-edit--open outer))
                (smtps-outbox-edit--compose
                 entry (decode-coding-string header 'utf-8-unix) opened))
            (mm-destroy-parts outer)
            (unless (or (null opened) (memq (car opened) outer)
                        (eq (car opened) outer))
              (mm-destroy-parts (car opened)))))))))

(defun smtps-outbox-edit--compose (entry header opened)
  "Return a buffer that composes ENTRY with the text HEADER.
OPENED is its body, as `smtps-outbox-edit--open' returns it."
  (pcase-let ((`(,handle ,method . ,ways) opened)
              (left (smtps-outbox-left entry))
              (buffer (generate-new-buffer "*smtps edit*"))
              (done nil))
    (unwind-protect
        (with-current-buffer buffer
          (insert header)
          (let ((rfc2047-quote-decoded-words-containing-tspecials t))
            (rfc2047-decode-region (point-min) (point-max)))
          (goto-char (point-max))
          (insert mail-header-separator "\n")
          (message-mode)
          ;; Those of the parts go with it.
          (setq-local mml-buffer-list nil)
          (add-hook 'kill-buffer-hook #'mml-destroy-buffers nil t)
          (smtps-outbox-edit--insert-body handle method ways)
          (smtps-outbox-edit--head entry left)
          (message-goto-body)
          (when ways (forward-line 1))
          (setq buffer-undo-list nil
                smtps-send-replaces (plist-get entry :id)
                smtps-send-replaced-fates (smtps-outbox-fates entry)
                smtps-send-inherited (smtps-outbox-edit--heritage entry))
          (set-buffer-modified-p nil)
          (setq smtps-outbox-edit--notes
                (smtps-outbox-edit--notes entry left ways))
          (setq done t)
          buffer)
      (unless done (kill-buffer buffer)))))

(defun smtps-outbox-edit--notes (entry left ways)
  "Return sentences on ENTRY in its buffer, for LEFT, protected in WAYS."
  (let ((got (- (length (plist-get entry :recipients)) (length left)))
        (account (plist-get smtps-send-inherited :account)))
    (delq nil
          (list
           (cond ((= got 1) "One of its recipients has got it already, and is left out")
                 ((> got 1)
                  (format "%d of its recipients have got it already, and are left out"
                          got)))
           (pcase ways
             ('(sign) "It was signed; what you send now is signed anew")
             ('nil nil)
             (_ "It was encrypted; what you send now is encrypted anew"))
           (and account
                (format-message "It goes by %s, as before; another From, or \
X-Message-SMTP-Method, changes that" (plist-get account :host)))))))

(defun smtps-outbox-edit--tell (sentence)
  "Tell SENTENCE, if non-nil, and what is to be said of this buffer's mail."
  (let* ((time (plist-get smtps-send-inherited :not-before))
         (sentences
          `(,@(and sentence (list sentence))
            ,@smtps-outbox-edit--notes
            ,@(and time
                   (list (format-message "It goes on %s, as before; with a prefix \
argument, sending it asks for another time" (format-time-string "%F at %R" time)))))))
    (when sentences
      (smtps-send-tell (string-join sentences ".  ")))))

(defun smtps-outbox-edit--heritage (entry)
  "Return what is made of ENTRY takes from it, as `smtps-send-inherited'."
  (let* ((forms (smtps-outbox--forms
                 (concat (plist-get entry :directory) "/envelope.sexp")
                 smtps-outbox--envelope-limit))
         (author (ignore-errors
                   (smtps-send--author
                    (save-excursion
                      (save-restriction
                        (message-narrow-to-headers)
                        (smtps-send--fields (point-max))))))))
    (list :author author
          :account (smtps-outbox-edit--account entry author)
          :from (and author (not (equal author (plist-get entry :from)))
                     (plist-get entry :from))
          :wishes (cl-loop for (key value)
                           on (cdr (smtps-outbox--form 'mail forms)) by #'cddr
                           ;; This is made anew of the time.
                           unless (memq key '(:hold-until :hold-for))
                           append (list key value))
          :notices (cl-loop for (name address . notices) in forms
                            when (and (eq name 'rcpt) notices)
                            collect (cons address notices))
          :not-before (smtps-outbox-edit--time entry))))

(defconst smtps-outbox-edit--slack 2
  "Seconds by which a time is still one that `smtps-send-delay' made.")

(defun smtps-outbox-edit--time (entry)
  "Return the time that ENTRY's user has set for it, or nil.
The pause of `smtps-send-delay' is none."
  (let ((time (plist-get entry :not-before)))
    (and time
         (time-less-p nil time)
         (> (abs (- time (plist-get entry :created) (smtps-option 'smtps-send-delay)))
            smtps-outbox-edit--slack)
         time)))

(defun smtps-outbox-edit--account (entry author)
  "Return ENTRY's account, if mail from AUTHOR would go by another one now.
Where an account of that name is chosen, it may have been mended since, and
is taken as it is now: then return nil."
  (let ((frozen (plist-get entry :account))
        (now (and author (ignore-error smtps-error (smtps-account-for author)))))
    (and author
         (not (if (plist-get frozen :name)
                  (equal (plist-get frozen :name) (plist-get now :name))
                (and (null (plist-get now :name))
                     (cl-every (lambda (key)
                                 (equal (plist-get frozen key)
                                        (plist-get now key)))
                               '(:host :port :tls :user)))))
         frozen)))

;;; To whom

(defun smtps-outbox-edit--same-p (a b)
  "Return non-nil if A and B, one of a header, one of an envelope, are the same."
  (let ((a (downcase a)) (b (downcase b)))
    (or (string= a b)
        ;; `smtpmail-sendto-domain' was added.
        (and (not (string-search "@" a))
             (string-prefix-p (concat a "@") b)))))

(defun smtps-outbox-edit--among (addresses others)
  "Return those of ADDRESSES that are among OTHERS, in an envelope."
  (cl-remove-if-not (lambda (address)
                      (cl-member address others :test #'smtps-outbox-edit--same-p))
                    addresses))

(defun smtps-outbox-edit--blind (left fields &rest names)
  "Return those of LEFT that no header of FIELDS called one of NAMES names."
  (let ((named (apply #'smtps-send--field-addresses fields names)))
    (cl-remove-if (lambda (address)
                    (cl-member address named
                               :test (lambda (a b) (smtps-outbox-edit--same-p b a))))
                  left)))

(defun smtps-outbox-edit--mailboxes (value left field)
  "Return the mailboxes in VALUE, of FIELD, whose addresses are in LEFT.
They keep their names where that can be."
  (require 'ietf-drums)
  (let* ((addresses (smtps-outbox-edit--among (smtps-send-addresses value field)
                                              left))
         (mailboxes (cl-remove-if-not
                     (lambda (mailbox)
                       (smtps-outbox-edit--among
                        (ignore-error smtps-error
                          (smtps-send-addresses mailbox field))
                        left))
                     (ignore-errors
                       (ietf-drums-parse-addresses
                        (string-trim
                         (replace-regexp-in-string "\n[ \t]+" " " value))
                        t)))))
    (if (equal addresses
               (ignore-error smtps-error
                 (smtps-send-addresses (string-join mailboxes ", ") field)))
        (mapcar #'string-trim mailboxes)
      addresses)))

(defun smtps-outbox-edit--head (entry left)
  "Make the header in the current buffer that of ENTRY for the addresses LEFT.
Whom it names, and who has got it, is left out; whom it does not name is
put into Bcc."
  (save-restriction
    (message-narrow-to-headers)
    (unless (smtps-afterwork-accepted-p entry)
      (goto-char (point-max))
      (insert (smtps-afterwork-header entry))
      (setq smtps-afterwork-inherited (smtps-afterwork-heritage entry)))
    ;; It will be another mail, with a Message-ID of its own.
    (message-remove-header "Message-ID")
    (message-remove-header "Date")
    (dolist (name '("Content-Type" "Content-Transfer-Encoding"
                    "Content-Disposition" "MIME-Version"))
      (message-remove-header name))
    (let* ((fields (smtps-send--fields (point-max)))
           (blind (smtps-outbox-edit--blind left fields "to" "cc")))
      (when (< (length left) (length (plist-get entry :recipients)))
        (pcase-dolist (`(,name ,value ,beginning ,end) (reverse fields))
          (when (member name '("to" "cc"))
            (goto-char beginning)
            (delete-region beginning end)
            (smtps-outbox-edit--insert-addresses
             (capitalize name)
             (smtps-outbox-edit--mailboxes value left (capitalize name))))))
      (goto-char (point-max))
      (smtps-outbox-edit--insert-addresses "Bcc" blind))))

(defun smtps-outbox-edit--insert-addresses (field addresses)
  "Insert a header FIELD with ADDRESSES; without any, nothing."
  (when addresses
    (insert field ": " (string-join addresses ",\n ") "\n")))

(defun smtps-outbox-edit--send-on (entry end)
  "Send ENTRY, the current buffer's octets with a header up to END, on again.
It was sent on, so that the text is another person's and stays as it is.
Ask to whom."
  (let* ((left (smtps-outbox-left entry))
         (fields (smtps-send--fields end))
         (blind (smtps-outbox-edit--blind left fields "resent-to" "resent-cc"))
         (to (smtps-send-addresses
              (read-string "This mail was sent on.  Send it on to: "
                           (string-join (cl-set-difference left blind
                                                           :test #'equal)
                                        ", "))
              "Resent-To")))
    (pcase-dolist (`(,name ,_ ,beginning ,finish) (reverse fields))
      (when (member name '("resent-to" "resent-cc" "resent-date"
                           "resent-message-id"))
        (delete-region beginning finish)))
    (goto-char (point-min))
    (dolist (field (list (cons "Resent-To" to) (cons "Resent-Bcc" blind)))
      (smtps-outbox-edit--insert-addresses
       (car field) (mapcar (lambda (address)
                             (encode-coding-string address 'utf-8))
                           (cdr field))))
    (insert "Resent-Date: " (smtps-send--date) "\n"
            "Resent-Message-ID: "
            (smtps-send--message-id (plist-get entry :from)) "\n")
    (setq smtps-send-replaces (plist-get entry :id)
          smtps-send-inherited
          (list :author (smtps-send--author fields)
                :account (smtps-outbox-edit--account
                          entry (smtps-send--author fields))
                :not-before (smtps-outbox-edit--time entry)))
    (smtps-send-buffer)
    nil))

;;; Taking it out, and putting it back

(defun smtps-outbox-edit-shown (id)
  "Return the buffer in which the mail ID is being edited, or nil."
  (cl-find id (buffer-list) :test #'equal
           :key (lambda (buffer)
                  (buffer-local-value 'smtps-send-replaces buffer))))

(defun smtps-outbox-edit-buffer (entry taken &optional sentence)
  "Return the buffer in which ENTRY, in held/ or failed/, is edited.
It is the one in which it was composed, or a new one; nil if there is
nothing to be edited any more.  TAKEN is non-nil if ENTRY was going to be
sent by itself.  Tell SENTENCE, and what else there is to be told of it.
Signal an error if it can't be edited."
  (let* ((id (plist-get entry :id))
         (composed (and (equal (smtps-outbox-left entry)
                               (plist-get entry :recipients))
                        (cl-find id (buffer-list) :test #'equal
                                 :key (lambda (buffer)
                                        (buffer-local-value 'smtps-send--entry
                                                            buffer)))))
         (buffer (if composed
                     (with-current-buffer composed
                       (require 'smtps-undo)
                       (smtps-undo-restore composed id)
                       (setq smtps-send-inherited
                             `(:not-before ,(smtps-outbox-edit--time entry)
                                           ,@smtps-send-inherited))
                       composed)
                   (smtps-outbox-edit-compose entry))))
    (when buffer
      (with-current-buffer buffer
        (smtps-outbox-edit--tell sentence)
        (setq smtps-outbox-edit--taken taken)
        (when taken
          (smtps-outbox-edited-by id (smtps-afterwork-here)))
        (add-hook 'kill-buffer-query-functions
                  #'smtps-outbox-edit--query-kill nil t)
        (add-hook 'kill-buffer-hook #'smtps-outbox-edit--killed nil t))
      (add-hook 'kill-emacs-query-functions #'smtps-outbox-edit-query-quit)
      (smtps-outbox-changed))
    buffer))

(defun smtps-outbox-edit-take (entry)
  "Take ENTRY, wherever it lies, to be edited; return as the above does.
If that can't be, put it back where it was."
  (let ((id (plist-get entry :id))
        (state (plist-get entry :state))
        (done nil))
    (or (smtps-outbox-edit-shown id)
        (progn
          (when (and (memq state '(queue tmp))
                     (not (smtps-outbox-move id state 'held)))
            (user-error "This mail was just taken up by somebody else"))
          (unwind-protect
              (prog1 (smtps-outbox-edit-buffer
                      ;; Held, it has no time any more, but will have it again.
                      (smtps-outbox-find id) (eq state 'queue))
                (setq done t))
            (unless (or done (not (eq state 'queue)))
              (smtps-outbox-move id 'held 'queue)
              (smtps-send--wake)))))))

(defun smtps-outbox-edit--held-p (buffer)
  "Return non-nil if the mail of BUFFER is in held/, and was to be sent."
  (let ((id (buffer-local-value 'smtps-send-replaces buffer)))
    (and id
         (buffer-local-value 'smtps-outbox-edit--taken buffer)
         (equal (smtps-outbox-states-of id) '(held)))))

(defun smtps-outbox-edit-buffers ()
  "Return the buffers in which mail that was to be sent is edited, and held."
  (cl-remove-if-not #'smtps-outbox-edit--held-p (buffer-list)))

(defun smtps-outbox-edit--put-back (id)
  "Put the mail ID back where it was before it was edited; return a sentence."
  (if (not (smtps-outbox-move id 'held 'queue))
      "The mail as it was before was taken up by somebody else"
    (let* ((entry (smtps-outbox-find id))
           (next (plist-get (plist-get entry :outcome) :next))
           (host (plist-get (plist-get entry :account) :host)))
      (cond ((smtps-outbox-delayed-p entry)
             (smtps-send--promise host (plist-get entry :not-before)))
            ((and next (time-less-p nil next))
             (format "It is as it was before you edited it; next try at %s"
                     (format-time-string "%R" next)))
            (t (smtps-send--promise host nil))))))

(defun smtps-outbox-edit--query-kill ()
  "Ask what becomes of the mail in the outbox, as this buffer is killed."
  (setq smtps-outbox-edit--then
        (if (and (smtps-outbox-edit--held-p (current-buffer))
                 (smtps-credentials--can-ask-p)
                 ;; In a timer or a filter, nothing may ask.
                 (not inhibit-quit))
            (car (read-multiple-choice
                  "What becomes of the mail as it was before you edited it?"
                  '((?s "send it" "It is sent as it was, when it would have been")
                    (?d "delete it" "It is deleted, and sent to nobody")
                    (?h "hold it" "It stays in the outbox, and is not sent"))))
          ?h))
  t)

(defun smtps-outbox-edit--killed ()
  "Do with the mail in the outbox what the user said as this buffer is killed."
  (let ((id smtps-send-replaces))
    (when (smtps-outbox-edit--held-p (current-buffer))
      (smtps-send-tell
       (concat
        (smtps-send--label id)
        (pcase smtps-outbox-edit--then
          (?s (smtps-outbox-edit--put-back id))
          ((guard (and (eql smtps-outbox-edit--then ?d)
                       (smtps-outbox-discard id)))
           "The mail was deleted")
          (_ (format-message "It stays in the outbox, held as it was before you \
edited it: in M-x smtps-outbox, h lets it go, d deletes it")))))
      (when (eql smtps-outbox-edit--then ?s)
        (smtps-send--wake))
      (smtps-outbox-edited-no-more (smtps-outbox--directory "held" id))
      (setq smtps-send-replaces nil)
      (smtps-outbox-changed))))

(defun smtps-outbox-edit-query-quit ()
  "Return non-nil if Emacs may quit, as far as mail that is edited is concerned."
  (let ((buffers (and (smtps-credentials--can-ask-p)
                      (not (equal (terminal-name) "initial_terminal"))
                      (smtps-outbox-edit-buffers))))
    (or (null buffers)
        (pcase (car (read-multiple-choice
                     (format "%s held while you edit it."
                             (if (cdr buffers)
                                 (format "%d mails are" (length buffers))
                               "A mail is"))
                     '((?n "don't quit" "Stay in Emacs")
                       (?s "send as it was"
                           "Quit; it is sent as it was before you edited it")
                       (?h "leave it held"
                           "Quit; it stays in the outbox, and is not sent"))))
          (?s (dolist (buffer buffers t)
                (smtps-outbox-edit--put-back
                 (buffer-local-value 'smtps-send-replaces buffer))))
          (?h t)))))

(provide 'smtps-outbox-edit)
;;; smtps-outbox-edit.el ends here
