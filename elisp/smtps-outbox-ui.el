;;; smtps-outbox-ui.el --- The outbox, shown, and what can be done with it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; M-x smtps-outbox lists the mail that is kept; RET shows what became of
;; one.  What is shown is read from the files, with no helper alive, and
;; follows them whoever changes them.
;;
;; Emacs itself moves a mail only between queue/ and held/; the rest is
;; asked of the helper, which locks the mail first.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'tabulated-list)
(require 'smtps-outbox)
(require 'smtps-send)
(require 'smtps-afterwork)
(require 'smtps-outbox-edit)
(require 'smtps-mode-line)

(declare-function file-notify-add-watch "filenotify" (file flags callback))
(declare-function file-notify-rm-watch "filenotify" (descriptor))
(declare-function smtps-explain-reply "smtps-explain")
(declare-function smtps-helper-call "smtps-helper")
(defvar smtps-explain-at-point-function)
(autoload 'smtps-outbox-session "smtps-outbox-session" nil t)

(defgroup smtps-outbox nil
  "The outbox as it is shown."
  :group 'smtps)

(defcustom smtps-outbox-shown-sent 50
  "The number of mails that were sent, the last ones, which the outbox lists."
  :type 'natnum)

(defface smtps-outbox-attention '((t :inherit warning))
  "Face of the state of a mail that needs you.")

(defface smtps-outbox-failed '((t :inherit error))
  "Face of the state of a mail that failed.")

(defface smtps-outbox-done '((t :inherit success))
  "Face of the state of a mail that was sent.")

;;; In words

(defun smtps-outbox-ui--state (entry)
  "Return the state of ENTRY as a person sees it, a symbol."
  (let ((outcome (plist-get entry :outcome)))
    (cond
     ((plist-get entry :damaged) 'damaged)
     ((smtps-outbox-uncertain-p entry) 'uncertain)
     (t
      (pcase (plist-get entry :state)
        ('queue (cond ((and outcome (null (plist-get outcome :next))) 'needs-you)
                      ((smtps-outbox-delayed-p entry) 'delayed)
                      (t 'waits)))
        ('active (if (smtps-send--interrupted-p) 'interrupted 'sending))
        ('tmp 'left-over)
        ('held (if (smtps-outbox-undecided-p entry) 'undecided 'held))
        (state state))))))

(defconst smtps-outbox-ui--states
  '((needs-you "needs you" smtps-outbox-attention)
    (undecided "undecided" smtps-outbox-attention)
    (uncertain "uncertain" smtps-outbox-attention)
    (interrupted "broke off" smtps-outbox-attention)
    (damaged   "damaged"   smtps-outbox-failed)
    (failed    "failed"    smtps-outbox-failed)
    (left-over "left over" smtps-outbox-attention)
    (sending   "sending"   default)
    (waits     "waits"     default)
    (delayed   "delayed"   default)
    (held      "held"      default)
    (sent      "sent"      smtps-outbox-done))
  "States of mail: each a symbol, its word and its face, in the order shown.")

(defun smtps-outbox-ui--word (state)
  "Return the word for STATE, in its face."
  (pcase-let ((`(,word ,face) (cdr (assq state smtps-outbox-ui--states))))
    (propertize word 'face face)))

(defconst smtps-outbox-ui--hints
  '((needs-you . "a answers what it waits for")
    (undecided . "o sends it to the others, e edits it")
    (interrupted . "r finds out what became of it")
    (left-over . "h lets it be sent, d drops it")
    (damaged   . "d drops it")
    (waits     . "r tries now, h holds it, e edits it")
    (delayed   . "r sends it now, e takes it back")
    (held      . "h lets it go, e edits it"))
  "The next step for mail in a state that is no end: an alist.")

(defun smtps-outbox-ui--hint (entry)
  "Return what to do with ENTRY, a sentence after two spaces, or nothing."
  (let* ((state (smtps-outbox-ui--state entry))
         (hint (cond ((memq state '(failed uncertain))
                      (smtps-send--failed-step entry (eq state 'uncertain)))
                     ((and (eq state 'sent) (smtps-outbox-ui--left entry))
                      "F does what is not done yet")
                     (t (alist-get state smtps-outbox-ui--hints)))))
    (if hint (format "  Keys: %s." hint) "")))

(defun smtps-outbox-ui--time (time)
  "Return TIME, seconds since 1970, short: today only the hour."
  (let ((today (format-time-string "%F")))
    (format-time-string (if (equal today (format-time-string "%F" time)) "%H:%M"
                          "%F")
                        time)))

(defun smtps-outbox-ui--server (entry)
  "Return the account of ENTRY in words: its name and its host."
  (let* ((account (plist-get entry :account))
         (name (plist-get account :name))
         (host (plist-get account :host)))
    (smtps-send--line
     (cond ((null account) "")
           (name (format "%s (%s)" name host))
           (t host)))))

(defun smtps-outbox-ui--to (entry)
  "Return the recipients of ENTRY in words."
  (let ((recipients (plist-get entry :recipients)))
    (smtps-send--line
     (if (cdr recipients)
         (format "%s +%d" (car recipients) (length (cdr recipients)))
       (or (car recipients) "")))))

(defun smtps-outbox-ui--last-word (entry)
  "Return in a sentence what came last of ENTRY."
  (let* ((outcome (plist-get entry :outcome))
         (next (plist-get outcome :next))
         (text (plist-get outcome :text)))
    (smtps-send--line
     (cond
      ((plist-get entry :damaged)
       (format "It was left alone: %s." (plist-get entry :damaged)))
      ((eq (smtps-outbox-ui--state entry) 'interrupted)
       "The helper died while it sent this mail.")
      ((memq (plist-get entry :state) '(active tmp)) "")
      ((smtps-outbox-delayed-p entry)
       (format "It goes at %s.  %s"
               (format-time-string "%F %T" (plist-get entry :not-before))
               (or text "")))
      ((and next (eq (plist-get entry :state) 'queue))
       (format "Next try %s.  %s" (smtps-outbox-ui--time next) (or text "")))
      ((smtps-outbox-ui--left entry)
       (concat "The mail was accepted.  "
               (mapconcat #'smtps-afterwork-sentence
                          (smtps-outbox-ui--left entry) "  ")))
      (t (or text ""))))))

(defun smtps-outbox-ui--left (entry)
  "Return the forms of what was to follow ENTRY's acceptance and is not done."
  (and (memq (plist-get entry :state) '(sent failed queue))
       (smtps-afterwork--file (plist-get entry :directory))
       (smtps-afterwork-accepted-p entry)
       (smtps-afterwork-left entry)))

;;; The list

(defconst smtps-outbox-ui--poll-seconds 5
  "Seconds between looks at the outbox while it is shown.
What other machines change in a shared directory is not notified.")

(defconst smtps-outbox-ui--pause 0.2
  "Seconds from a notified change to the look, so that many make one.")

(defconst smtps-outbox-ui--share 20
  "A look waits so many times as long as the last one took.
Thus a queue of thousands leaves Emacs to its user while it is sent.")

(defconst smtps-outbox-ui--reading-seconds 0.01
  "Seconds that a look by itself may read entries; the rest is for the next.")

(defvar-local smtps-outbox-ui--known nil
  "What was read: a hash table from ids to (STATE TIME ENTRY SUBJECT ROW).
TIME is that of the entry's directory, which each change touches.")

(defvar-local smtps-outbox-ui--unread nil
  "What is still to be looked at: an alist of ids and lists of states.")

(defvar-local smtps-outbox-ui--watches nil
  "The descriptors of what is watched.")

(defvar-local smtps-outbox-ui--timer nil
  "The timer of the next look, or nil.")

(defvar-local smtps-outbox-ui--poll nil
  "The timer that looks without being told.")

(defvar-local smtps-outbox-ui--took 0
  "Seconds that the last look took.")

(defvar smtps-outbox-mode-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map tabulated-list-mode-map)
    (define-key map (kbd "RET") #'smtps-outbox-show)
    (define-key map "r" #'smtps-outbox-retry)
    (define-key map "o" #'smtps-outbox-send-to-others)
    (define-key map "h" #'smtps-outbox-hold)
    (define-key map "e" #'smtps-outbox-edit)
    (define-key map "f" #'smtps-outbox-resend-failed)
    (define-key map "d" #'smtps-outbox-drop)
    (define-key map "m" #'smtps-outbox-mark-sent)
    (define-key map "F" #'smtps-outbox-follow)
    (define-key map "a" #'smtps-answer)
    (define-key map "s" #'smtps-outbox-session)
    (define-key map "x" #'smtps-explain)
    map)
  "Keymap of `smtps-outbox-mode'.")

(easy-menu-define smtps-outbox-menu smtps-outbox-mode-map
  "Menu of the outbox."
  '("Outbox"
    ["Show" smtps-outbox-show :help "Show what became of this mail"]
    ["Try now" smtps-outbox-retry :help "Send this mail now"]
    ["Send to the others" smtps-outbox-send-to-others
     :help "Send this mail to those whom the server did not refuse"]
    ["Hold or release" smtps-outbox-hold
     :help "Keep this mail from being sent, or let it go"]
    ["Edit" smtps-outbox-edit :help "Take this mail back to be edited"]
    ["Resend to those that failed" smtps-outbox-resend-failed
     :help "Send this mail again to those it could not be sent to"]
    ["Go on by hand" smtps-outbox-session
     :help "Open a session at the step where this mail failed"]
    ["Mark as sent" smtps-outbox-mark-sent
     :help "Note that a mail has arrived all the same"]
    ["File now" smtps-outbox-follow
     :help "Make the copies of this mail, and the marks, that are missing"]
    ["Drop" smtps-outbox-drop :help "Delete this mail"]
    ["Explain" smtps-explain :help "Tell what the server's reply means"]
    "--"
    ["Answer" smtps-answer :help "Give what mail waits for: passwords, trust"]))

(define-derived-mode smtps-outbox-mode tabulated-list-mode "Outbox"
  "Major mode for the list of mail in the outbox.
\\{smtps-outbox-mode-map}"
  (setq tabulated-list-format (smtps-outbox-ui--columns (frame-width))
        tabulated-list-padding 1
        tabulated-list-sort-key '("State" . nil)
        smtps-outbox-ui--known (make-hash-table :test #'equal))
  (tabulated-list-init-header)
  (setq-local revert-buffer-function #'smtps-outbox-ui--revert)
  (setq-local smtps-explain-at-point-function #'smtps-outbox-ui--explained)
  (add-hook 'eldoc-documentation-functions #'smtps-outbox-ui--eldoc nil t)
  (add-hook 'window-buffer-change-functions #'smtps-outbox-ui--seen nil t)
  (add-hook 'kill-buffer-hook #'smtps-outbox-ui--unwatch nil t)
  (add-hook 'change-major-mode-hook #'smtps-outbox-ui--unwatch nil t))

(defun smtps-outbox-ui--columns (width)
  "Return the columns of the list for a frame of WIDTH columns.
Subject, and the beginning of the last word, are seen on 80, too."
  (let ((rest (max 0 (- width 80))))
    (vector '("State" 9 smtps-outbox-ui--before-p)
            '("Written" 10 smtps-outbox-ui--older-p)
            `("To" ,(+ 16 (/ rest 8)) t)
            `("Subject" ,(+ 18 (/ rest 4)) t)
            `("Server" ,(+ 6 (/ rest 6)) t)
            '("Last word" 0 nil))))

(defun smtps-outbox-ui--eldoc (&rest _)
  "Return the last word of the mail at point, which the window may cut off."
  (let ((entry (nth 2 (gethash (car (tabulated-list-get-id))
                               smtps-outbox-ui--known))))
    (and entry
         (not (string-empty-p (smtps-outbox-ui--last-word entry)))
         (concat (smtps-outbox-ui--last-word entry)
                 (smtps-outbox-ui--hint entry)))))

;; What the list calls a row's id is (ID RANK TIME), and so is another when
;; the mail has changed: otherwise the row would not be printed again.

(defun smtps-outbox-ui--before-p (a b)
  "Return non-nil if row A is shown before B: by state, then the newest first."
  (let ((i (cadar a))
        (j (cadar b)))
    (if (= i j) (string> (caar a) (caar b)) (< i j))))

(defun smtps-outbox-ui--older-p (a b)
  "Return non-nil if the mail in row A is older than that in B."
  (string< (caar a) (caar b)))

;;;###autoload
(defun smtps-outbox ()
  "Show the mail in the outbox: what waits, what failed, what was sent.
One that can't be written is shown as well; then nothing can be done there."
  (interactive)
  (smtps-send--door
    (smtps-option 'smtps-outbox-directory)
    (smtps-option 'smtps-outbox-shown-sent))
  (let ((buffer (get-buffer-create "*smtps outbox*"))
        (problem (smtps-outbox-ui--problem)))
    (with-current-buffer buffer
      (unless (derived-mode-p 'smtps-outbox-mode)
        (smtps-outbox-mode)
        (smtps-outbox-ui--watch))
      (smtps-outbox-ui--look nil))
    (smtps-mode-line-seen)
    (pop-to-buffer buffer)
    (when problem
      (message "%s  What lies there is shown." problem))
    buffer))

(defun smtps-outbox-ui--problem ()
  "Return why the outbox can't be written, a sentence, or nil if it can.
Signal if it can't even be read."
  (condition-case problem
      (progn (smtps-outbox-ready) nil)
    (smtps-outbox-error
     (unless (smtps-outbox-ui--readable-p)
       (user-error "%s" (cadr problem)))
     ;; That nothing was sent goes without saying here.
     (concat (car (split-string (cadr problem) "\\.  ")) "."))))

(defun smtps-outbox-ui--readable-p ()
  "Return non-nil if what lies in the outbox can be listed."
  (and (not (file-remote-p smtps-outbox-directory))
       (cl-every (lambda (state)
                   (file-accessible-directory-p
                    (smtps-outbox--directory (symbol-name state))))
                 smtps-outbox-states)))

(defun smtps-outbox-ui--revert (&rest _)
  "Read the outbox anew."
  (clrhash smtps-outbox-ui--known)
  (when (and (smtps-send--interrupted-p) (smtps-outbox--names "active"))
    (smtps-send--wake))
  (smtps-outbox-ui--look nil))

(defun smtps-outbox-ui--watch ()
  "Have the current buffer follow the outbox."
  (require 'filenotify)
  (let ((buffer (current-buffer)))
    (setq smtps-outbox-ui--watches
          (cl-loop for state in smtps-outbox-states
                   ;; Where there is no notification, the poll is left.
                   for watch = (ignore-errors
                                 (file-notify-add-watch
                                  (smtps-outbox--directory (symbol-name state))
                                  '(change attribute-change)
                                  (lambda (_event)
                                    (smtps-outbox-ui--look-soon buffer))))
                   when watch collect watch)
          smtps-outbox-ui--poll
          (run-with-timer smtps-outbox-ui--poll-seconds
                          smtps-outbox-ui--poll-seconds
                          #'smtps-outbox-ui--look-soon buffer))))

(defun smtps-outbox-ui--unwatch ()
  "Have the current buffer no longer follow the outbox."
  (mapc #'file-notify-rm-watch smtps-outbox-ui--watches)
  (dolist (timer (list smtps-outbox-ui--timer smtps-outbox-ui--poll))
    (when timer (cancel-timer timer)))
  (setq smtps-outbox-ui--watches nil
        smtps-outbox-ui--timer nil
        smtps-outbox-ui--poll nil))

(defun smtps-outbox-ui--seen (window)
  "Look at the outbox when it comes into WINDOW."
  (smtps-outbox-ui--look-soon (window-buffer window)))

(defun smtps-outbox-ui--look-soon (buffer)
  "Have the outbox shown in BUFFER looked at, if anybody sees it."
  (when (and (buffer-live-p buffer) (get-buffer-window buffer 'visible))
    (with-current-buffer buffer
      (unless smtps-outbox-ui--timer
        (setq smtps-outbox-ui--timer
              (run-with-timer (max smtps-outbox-ui--pause
                                   (* smtps-outbox-ui--share
                                      smtps-outbox-ui--took))
                              nil #'smtps-outbox-ui--look-now buffer))))))

(defun smtps-outbox-ui--look-now (buffer)
  "Look at the outbox shown in BUFFER, and go on soon if not all was read."
  (when (buffer-live-p buffer)
    (with-current-buffer buffer
      (setq smtps-outbox-ui--timer nil)
      (unless (smtps-outbox-ui--look smtps-outbox-ui--reading-seconds)
        (smtps-outbox-ui--look-soon buffer)))))

(defun smtps-outbox-ui--look (seconds)
  "Show the outbox in the current buffer as it is now.
Read entries for SECONDS at most, if non-nil; the next look goes on from
there.  Return non-nil if all was read, and so is shown."
  (let ((began (float-time)))
    (unless (and seconds smtps-outbox-ui--unread)
      (setq smtps-outbox-ui--unread (smtps-outbox-ui--present)))
    (while (and smtps-outbox-ui--unread
                (or (null seconds) (< (- (float-time) began) seconds)))
      (pcase-let ((`(,id . ,states) (pop smtps-outbox-ui--unread)))
        (smtps-outbox-ui--learn id states)))
    (unless smtps-outbox-ui--unread
      (smtps-outbox-ui--print))
    ;; What a person has asked for and waited for says nothing of the rest.
    (setq smtps-outbox-ui--took (if seconds (- (float-time) began) 0))
    (null smtps-outbox-ui--unread)))

(defun smtps-outbox-ui--print ()
  "Show in the current buffer what is known, and leave point where it was."
  (let ((places (mapcar (lambda (window)
                          (cons window
                                (save-excursion
                                  (goto-char (window-point window))
                                  (smtps-outbox-ui--place))))
                        (get-buffer-window-list nil nil t)))
        (place (smtps-outbox-ui--place)))
    (setq tabulated-list-entries nil)
    (maphash (lambda (_id known) (push (nth 4 known) tabulated-list-entries))
             smtps-outbox-ui--known)
    (tabulated-list-print nil t)
    (pcase-dolist (`(,window . ,place) places)
      (save-excursion
        (smtps-outbox-ui--goto place)
        (set-window-point window (point))))
    (smtps-outbox-ui--goto place)
    (setq mode-line-process (smtps-outbox-ui--summary))))

(defun smtps-outbox-ui--place ()
  "Return where point is: the id, the line and the column."
  (list (car (tabulated-list-get-id)) (line-number-at-pos) (current-column)))

(defun smtps-outbox-ui--goto (place)
  "Go to PLACE, or if its mail is gone, to the line where it was."
  (pcase-let ((`(,id ,line ,column) place)
              (found nil))
    (goto-char (point-min))
    (while (not (or (eobp)
                    (setq found (equal id (car (tabulated-list-get-id))))))
      (forward-line 1))
    (unless found
      (goto-char (point-min))
      (forward-line (1- line)))
    (move-to-column column)))

(defun smtps-outbox-ui--summary ()
  "Return how many mails are in which state, in words."
  (let ((counts nil))
    (maphash (lambda (_id known)
               (cl-incf (alist-get (smtps-outbox-ui--state (nth 2 known))
                                   counts 0)))
             smtps-outbox-ui--known)
    (concat
     (unless (file-writable-p (smtps-outbox--directory "tmp"))
       " can't be written:")
     (cl-loop for (state word) in smtps-outbox-ui--states
              for count = (alist-get state counts)
              when count concat (format " %d %s" count word)))))

(defun smtps-outbox-ui--present ()
  "Return what is in the outbox and shown: an alist of ids and lists of states.
Forget what is there no longer."
  (let ((present (make-hash-table :test #'equal))
        (shown (smtps-option 'smtps-outbox-shown-sent))
        (found nil))
    ;; In the order in which mail moves: one that does is seen.
    (dolist (state '(tmp held queue active failed sent))
      (dolist (id (let ((names (smtps-outbox--names (symbol-name state))))
                    (if (eq state 'sent) (last names shown) names)))
        (push state (gethash id present))))
    (maphash (lambda (id _known)
               (unless (gethash id present)
                 (remhash id smtps-outbox-ui--known)))
             smtps-outbox-ui--known)
    (maphash (lambda (id states) (push (cons id states) found)) present)
    found))

(defun smtps-outbox-ui--learn (id states)
  "Read the entry ID, which was seen in STATES, unless it is known."
  (let* ((directory (smtps-outbox--directory (symbol-name (car states)) id))
         (time (let ((file-name-handler-alist nil))
                 (file-attribute-modification-time (file-attributes directory))))
         (known (gethash id smtps-outbox-ui--known))
         (same (and (equal states (car known)) (equal time (nth 1 known)))))
    ;; Moved meanwhile, it is left to the next look, which lists it anew: of
    ;; a long queue that is sent, most need not be read then.
    (unless (or (null time)
                ;; What a time passes over is in another state without a change.
                ;; So is what a helper leaves that dies.
                (and same
                     (not (memq 'active states))
                     (null (plist-get (nth 2 known) :not-before))))
      (let ((entry (if (eq (car states) 'tmp) (smtps-outbox--left-behind id)
                     (smtps-outbox-find id))))
        (if (null entry)
            (remhash id smtps-outbox-ui--known)
          (let ((subject (or (nth 3 known)
                             (smtps-send--subject (plist-get entry :directory))
                             "")))
            (puthash id (list states time entry subject
                              (smtps-outbox-ui--row entry time subject))
                     smtps-outbox-ui--known)))))))

(defun smtps-outbox-ui--row (entry time subject)
  "Return the list's row for ENTRY of TIME, whose subject is SUBJECT."
  (list (list (plist-get entry :id)
              (cl-position (smtps-outbox-ui--state entry)
                           smtps-outbox-ui--states :key #'car)
              time)
        (vector (smtps-outbox-ui--word (smtps-outbox-ui--state entry))
                (let ((created (plist-get entry :created)))
                  (if created (smtps-outbox-ui--time created) ""))
                (smtps-outbox-ui--to entry)
                subject
                (smtps-outbox-ui--server entry)
                (smtps-outbox-ui--last-word entry))))

;;; One mail

(defvar-local smtps-outbox-ui--id nil
  "The mail that this buffer shows.")

(defvar smtps-outbox-mail-mode-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map special-mode-map)
    (dolist (key '("r" "o" "h" "e" "f" "d" "m" "F" "a" "s" "x"))
      (define-key map key (lookup-key smtps-outbox-mode-map key)))
    map)
  "Keymap of `smtps-outbox-mail-mode'.")

(define-derived-mode smtps-outbox-mail-mode special-mode "Mail"
  "Major mode for what became of a mail in the outbox.
\\{smtps-outbox-mail-mode-map}"
  (setq-local revert-buffer-function
              (lambda (&rest _) (smtps-outbox-ui--show smtps-outbox-ui--id)))
  (setq-local smtps-explain-at-point-function #'smtps-outbox-ui--explained))

(defun smtps-outbox-show ()
  "Show the fate of the mail at point: its recipients, and the dialogue."
  (interactive)
  (let ((id (smtps-outbox-ui--here)))
    (smtps-outbox-told id)
    (with-current-buffer (get-buffer-create "*smtps mail*")
      (smtps-outbox-mail-mode)
      (smtps-outbox-ui--show id)
      (goto-char (point-min)))
    (pop-to-buffer "*smtps mail*")))

(defun smtps-outbox-ui--find (id)
  "Return the entry ID, wherever it lies, or nil."
  (or (smtps-outbox-find id)
      (and (member id (smtps-outbox--names "tmp"))
           (smtps-outbox--left-behind id))))

(defun smtps-outbox-ui--show (id)
  "Show in the current buffer what is known of the mail ID."
  (let ((entry (smtps-outbox-ui--find id))
        (inhibit-read-only t)
        (point (point)))
    (unless entry
      (user-error "This mail is no longer in the outbox"))
    (setq smtps-outbox-ui--id id)
    (erase-buffer)
    (smtps-outbox-ui--insert-mail entry)
    (goto-char (min point (point-max)))))

(defun smtps-outbox-ui--insert-field (name value)
  "Insert a line with NAME and VALUE, which may be nil: then nothing."
  (when value
    (insert (propertize (format "%-9s" (concat name ":")) 'face 'bold)
            (smtps-send--line value) "\n")))

(defun smtps-outbox-ui--insert-mail (entry)
  "Insert what is known of ENTRY."
  (let ((account (plist-get entry :account))
        (message (concat (plist-get entry :directory) "/message.eml"))
        (journal (smtps-outbox-journal entry)))
    (smtps-outbox-ui--insert-field
     "Subject" (smtps-send--subject (plist-get entry :directory)))
    (smtps-outbox-ui--insert-field "From" (plist-get entry :from))
    (when account
      (smtps-outbox-ui--insert-field
       "Server" (format "%s:%s (%s)%s" (plist-get account :host)
                        (plist-get account :port) (plist-get account :tls)
                        (if (plist-get account :user)
                            (format ", as %s" (plist-get account :user))
                          ""))))
    (when (plist-get entry :created)
      (smtps-outbox-ui--insert-field
       "Written" (format-time-string "%F %T" (plist-get entry :created))))
    (insert (propertize (format "%-9s" "Message:") 'face 'bold))
    (insert-text-button (abbreviate-file-name message)
                        'action (lambda (_) (view-file message))
                        'follow-link t
                        'help-echo "Show the mail as it is sent")
    (insert "\n" (propertize (format "%-9s" "State:") 'face 'bold)
            (smtps-outbox-ui--word (smtps-outbox-ui--state entry))
            (smtps-outbox-ui--hint entry) "\n")
    (let ((last (smtps-outbox-ui--last-word entry)))
      (unless (string-empty-p last)
        (insert "\n")
        (let ((begin (point)))
          (insert last "\n")
          (fill-region begin (point)))))
    (insert "\n")
    (cl-loop with last = nil
             for fate in (smtps-outbox-fates entry journal)
             for explained = (smtps-outbox-ui--explain-fate entry (cdr fate))
             do (smtps-outbox-ui--insert-fate fate)
             ;; What refuses all is told once.
             unless (equal explained last)
             do (when explained (smtps-outbox-ui--insert-explained explained))
             do (setq last explained))
    (smtps-outbox-ui--insert-journal journal)))

(defun smtps-outbox-ui--insert-fate (fate)
  "Insert a recipient's FATE, an element of `smtps-outbox-fates'."
  (pcase-let ((`(,address . ,result) fate))
    (insert "  " (smtps-send--line address) "  "
            (let ((verdict (plist-get result :verdict)))
              (propertize (if verdict (symbol-name verdict) "not tried yet")
                          'face (pcase verdict
                                  ('accepted 'smtps-outbox-done)
                                  ((or 'nil 'deferred 'unreached) 'default)
                                  ('uncertain 'smtps-outbox-attention)
                                  (_ 'smtps-outbox-failed)))))
    (dolist (key '(:code :enhanced :text))
      (when (plist-get result key)
        (insert " " (smtps-send--line (format "%s" (plist-get result key))))))
    (insert "\n")))

(defun smtps-outbox-ui--explain-fate (entry result)
  "Explain RESULT, a recipient's, of ENTRY; return as `smtps-explain-reply'.
Return nil for what no reply refused."
  (let ((verdict (plist-get result :verdict)))
    (and (plist-get result :code)
         (not (eq verdict 'accepted))
         (ignore-error smtps-helper-missing
           (smtps-explain-reply
            (mapconcat (lambda (key) (format "%s" (or (plist-get result key) "")))
                       '(:code :enhanced :text) " ")
            :step (and (eq verdict 'refused) 'rcpt)
            :host (plist-get (plist-get entry :account) :host))))))

(defun smtps-outbox-ui--insert-explained (explained)
  "Insert the short of EXPLAINED, as of `smtps-explain-reply', and what to do next."
  (let ((fill-prefix "    "))
    (dolist (sentence (list (plist-get explained :short)
                            (concat "Next: " (plist-get explained :next))))
      (let ((begin (point)))
        (insert fill-prefix sentence "\n")
        (fill-region-as-paragraph begin (point))))))

(defun smtps-outbox-ui--explained ()
  "Explain the first refusal of the mail that is meant; nil if there is none."
  (let ((entry (smtps-outbox-ui--chosen)))
    (cl-loop for fate in (smtps-outbox-fates entry)
             thereis (smtps-outbox-ui--explain-fate entry (cdr fate)))))

(defun smtps-outbox-ui--insert-journal (journal)
  "Insert what was tried, with the dialogues, from the forms of JOURNAL."
  (pcase-dolist (`(,name . ,properties) journal)
    (pcase name
      ('attempt
       (insert (propertize
                (format "\nAttempt %s at %s\n" (plist-get properties :number)
                        (let ((time (plist-get properties :time)))
                          (if (integerp time) (format-time-string "%F %T" time)
                            time)))
                'face 'bold)))
      ('transcript
       (dolist (line (split-string (format "%s" (plist-get properties :text)) "\n"))
         (insert
          (if (string-match "\\`\\([0-9]+\\) \\(.*\\)\\'" line)
              (format "%9.3f  %s\n"
                      (/ (string-to-number (match-string 1 line)) 1000.0)
                      (smtps-send--line (match-string 2 line)))
            (format "%9s  %s\n" "" (smtps-send--line line)))))))))

;;; What can be done

(defun smtps-outbox-ui--here ()
  "Return the id of the mail that is shown, or that of the line at point."
  (or smtps-outbox-ui--id
      (and (derived-mode-p 'smtps-outbox-mode) (car (tabulated-list-get-id)))
      (user-error "There is no mail on this line")))

(defun smtps-outbox-ui--chosen (&rest states)
  "Return the entry that is meant, as it is now, in one of STATES.
STATES are those of `smtps-outbox-ui--states'; without any, all will do."
  (let* ((id (smtps-outbox-ui--here))
         (entry (or (smtps-outbox-ui--find id)
                    (user-error "This mail is no longer in the outbox")))
         (state (smtps-outbox-ui--state entry)))
    (when (and states (not (memq state states)))
      (user-error "This mail is %s: that can't be done with it now"
                  (pcase state
                    ('sending "being sent")
                    ('interrupted "not judged since the helper died (r does that)")
                    ('waits "waiting to be sent")
                    ('needs-you "waiting for an answer (M-x smtps-answer)")
                    (_ (substring-no-properties
                        (smtps-outbox-ui--word state))))))
    entry))

(defun smtps-outbox-ui--ask (method entry done)
  "Have the helper do METHOD with ENTRY, and tell DONE once it has.
DONE is a sentence, or nil if an event tells."
  (require 'smtps-helper)
  (let ((buffer (current-buffer)))
    (smtps-helper-call method (list :outbox (smtps-outbox--directory)
                                    :id (plist-get entry :id))
                       :then (lambda (_)
                               (when done (smtps-send-tell done))
                               (smtps-outbox-ui--changed buffer))
                       :else (lambda (problem)
                               (smtps-send-tell (smtps-send--problem problem))
                               (smtps-outbox-ui--changed buffer)))))

(defun smtps-outbox-ui--changed (buffer)
  "Show what has changed in the outbox in BUFFER, a list or a mail."
  (smtps-outbox-changed)
  (dolist (shown (delete-dups (list buffer (get-buffer "*smtps outbox*"))))
    (when (buffer-live-p shown)
      (with-current-buffer shown
        (cond ((derived-mode-p 'smtps-outbox-mode)
               (smtps-outbox-ui--look-soon shown))
              ((derived-mode-p 'smtps-outbox-mail-mode)
               ;; Dropped, it stays as it was seen last.
               (when (smtps-outbox-ui--find smtps-outbox-ui--id)
                 (smtps-outbox-ui--show smtps-outbox-ui--id))))))))

(defun smtps-outbox-ui--can-ask-p (prompt)
  "Ask PROMPT, and signal if the answer is no."
  (unless (yes-or-no-p prompt)
    (user-error "Nothing was done")))

(defun smtps-outbox-retry ()
  "Send the mail at point now, however long it was to wait.
One that failed goes to all who have not got it.  What a helper that died
was sending is not sent again: it is found out how far that went."
  (interactive)
  (let ((entry (smtps-outbox-ui--chosen 'waits 'delayed 'needs-you 'undecided 'held
                                        'failed 'uncertain 'interrupted)))
    (cond
     ((eq (plist-get entry :state) 'active)
      (smtps-send--wake)
      (smtps-send-tell "The helper is started, and finds out what became of it"))
     ((not (smtps-outbox-uncertain-p entry))
      (smtps-outbox-ui--send entry :now t))
     (t
      (smtps-outbox-ui--can-ask-p
       "Nobody knows whether this mail has arrived; sent again, it may come twice.  Send it? ")
      (smtps-outbox-ui--send entry :now t :uncertain t)))))

(defun smtps-outbox-resend-failed ()
  "Send the mail at point again, only to those whom it could not be sent to."
  (interactive)
  (let ((entry (smtps-outbox-ui--chosen 'failed)))
    (smtps-outbox-ui--send entry)))

(defun smtps-outbox-send-to-others ()
  "Send the mail at point to those of its recipients who were not refused.
So you decide about a mail that was for all or none."
  (interactive)
  (let ((entry (smtps-outbox-ui--chosen 'undecided 'waits)))
    (unless (smtps-outbox-left entry t)
      (user-error "There is nobody else to send this mail to"))
    (smtps-outbox-ui--send entry :others t)))

(defun smtps-outbox-ui--send (entry &rest properties)
  "Have ENTRY sent; PROPERTIES are those of `smtps-send-entry'."
  ;; Once the helper has it, its journal is elsewhere.
  (let ((sentence (format "Sending to %s..." (smtps-outbox-ui--addresses
                                              (smtps-outbox-left
                                               entry (plist-get properties
                                                                :others))))))
    (smtps-send--door (apply #'smtps-send-entry entry properties))
    (smtps-send-tell sentence))
  (smtps-outbox-ui--changed (current-buffer)))

(defun smtps-outbox-ui--addresses (addresses)
  "Return ADDRESSES in words, not too long."
  (smtps-send--visible (string-join addresses ", ")))

(defun smtps-outbox-ui--move (id from to)
  "Move the mail ID from the state FROM to TO; signal if that can't be done."
  (unless (smtps-send--door (smtps-outbox-move id from to))
    (user-error "This mail was just taken up by somebody else")))

(defun smtps-outbox-hold ()
  "Keep the mail at point from being sent, or let it go if it is held."
  (interactive)
  (let* ((entry (smtps-outbox-ui--chosen 'waits 'delayed 'needs-you 'held
                                         'left-over))
         (id (plist-get entry :id))
         (state (plist-get entry :state))
         (target (if (eq state 'held) 'queue 'held)))
    (smtps-outbox-ui--move id state target)
    (if (eq target 'queue)
        (smtps-outbox-ui--let-go (smtps-outbox-find id))
      (smtps-send-tell "Held: it is not sent before you let it go")
      (smtps-outbox-ui--changed (current-buffer)))))

(defun smtps-outbox-ui--let-go (entry)
  "Have ENTRY, which was held, sent now, or when its time has come."
  (if (not (smtps-outbox-delayed-p entry))
      (smtps-outbox-ui--send entry)
    (smtps-send--wake)
    (smtps-send-tell
     (smtps-send--promise (plist-get (plist-get entry :account) :host)
                          (plist-get entry :not-before)))
    (smtps-outbox-ui--changed (current-buffer))))

(defun smtps-outbox-drop ()
  "Delete the mail at point, after asking."
  (interactive)
  (let ((entry (smtps-outbox-ui--chosen)))
    (when (eq (plist-get entry :state) 'active)
      (user-error
       (if (smtps-send--interrupted-p)
           "It has to be found out first what became of this mail: r does that"
         "This mail is being sent: it can't be dropped now")))
    (smtps-outbox-ui--can-ask-p
     (format "Delete %s for good? "
             (let ((subject (smtps-send--subject (plist-get entry :directory))))
               (if subject (format "“%s”" subject) "this mail"))))
    (when (eq (plist-get entry :state) 'tmp)
      ;; The helper knows whole mails only.
      (smtps-outbox-move (plist-get entry :id) 'tmp 'held))
    (smtps-outbox-ui--ask 'outbox-drop entry "The mail was deleted")))

(defun smtps-outbox-mark-sent ()
  "Note that the mail at point has arrived, though that is not known here.
One that failed may have been sent by hand."
  (interactive)
  (let ((entry (smtps-outbox-ui--chosen 'uncertain 'failed 'undecided 'held)))
    (unless (smtps-outbox-uncertain-p entry)
      (smtps-outbox-ui--can-ask-p
       (format "It is not sent again then.  Has it arrived at %s? "
               (smtps-outbox-ui--addresses (smtps-outbox-left entry)))))
    (smtps-outbox-told (plist-get entry :id))
    (smtps-outbox-ui--ask 'outbox-mark-sent entry "Marked as sent")))

(defun smtps-outbox-follow ()
  "Do what was to follow the acceptance of the mail at point and was not done.
Such are copies (Fcc, Gcc), the mark of the mail that it answers, and the
end of its draft.  What nobody can do any more is forgotten, after asking."
  (interactive)
  (let* ((entry (smtps-outbox-ui--chosen))
         (id (plist-get entry :id))
         (left (smtps-outbox-ui--left entry)))
    (cond
     ((not (smtps-afterwork-left entry))
      (user-error "Nothing is left to be done of this mail"))
     ((not left)
      (user-error "This mail was not accepted yet: nothing follows before")))
    (mapc #'require (smtps-afterwork-to-load (plist-get entry :directory)))
    (let* ((smtps-afterwork-may-ask t)
           (failed (smtps-afterwork-run id t)))
      (when (and (cl-some #'smtps-afterwork-lost-p left)
                 (yes-or-no-p
                  (format "%s.  Forget it? "
                          (smtps-afterwork-sentence
                           (cl-find-if #'smtps-afterwork-lost-p left)))))
        (smtps-afterwork-forget id))
      (cond
       ((cl-find-if-not (lambda (form) (plist-get (cdr form) :client))
                        (smtps-afterwork-left entry))
        (smtps-outbox-ui--ask 'outbox-follow entry nil))
       (failed (smtps-send--tell-left id failed))
       ((setq left (smtps-afterwork-left entry))
        (smtps-send-tell (smtps-afterwork-sentence (car left))))
       (t (smtps-send-tell "Nothing is left to be done of this mail"))))
    (smtps-outbox-ui--changed (current-buffer))))

;;; Back to a buffer

(defun smtps-outbox-edit ()
  "Take the mail at point back into a buffer, to be edited and sent anew.
Until that is sent, the mail stays in the outbox, held.  One that was sent
on can be sent on to others; it stays as it is."
  (interactive)
  (let ((entry (smtps-outbox-ui--chosen 'waits 'delayed 'needs-you 'undecided
                                        'held 'failed 'left-over))
        (here (current-buffer)))
    (unless (smtps-outbox-edit-shown (plist-get entry :id))
      (when (plist-get entry :uncertain)
        (smtps-outbox-ui--can-ask-p
         "Some may have got this mail; edited and sent anew, it may come twice.  Edit it? ")))
    (let ((buffer (smtps-send--door (smtps-outbox-edit-take entry))))
      (when buffer (pop-to-buffer buffer)))
    (smtps-outbox-ui--changed here)))

(provide 'smtps-outbox-ui)
;;; smtps-outbox-ui.el ends here
