;;; smtps-message.el --- What message-mode does after sending, done later  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The client `message' of smtps-afterwork.el: Fcc, `message-sent-hook'
;; and `message-send-actions'.  The last two are functions, which are
;; never written down: they are run in the buffer that the mail was
;; composed in, or not at all.

;;; Code:

(require 'cl-lib)
(require 'message)
(require 'smtps-afterwork)

(declare-function gnus-output-to-mail "gnus-util" (filename &optional ask))
(declare-function gnus-output-to-rmail "gnus-util" (filename &optional ask))
(declare-function mail-file-babyl-p "mail-utils" (file))
(declare-function rmail-output "rmailout"
                  (file-name &optional count noattribute not-rmail))
(defvar mail-use-rfc822)

(defvar-local smtps-message--deferred nil
  "What this buffer's mail is to be followed by, a plist.
`:hook' is the value of `message-sent-hook', `:actions' that of
`message-send-actions', `:programs' a list of the commands in Fcc.")

(defun smtps-message-buffer-p ()
  "Return non-nil if the current buffer composes a message."
  (derived-mode-p 'message-mode))

(defun smtps-message--hooked-p ()
  "Return non-nil if `message-sent-hook' has a function here."
  (let ((hook (ensure-list message-sent-hook)))
    (or (remq t hook)
        (and (memq t hook) (default-value 'message-sent-hook)))))

(defun smtps-message--programs ()
  "Return the commands that the Fcc fields pipe the mail into."
  (cl-loop for value in (smtps-message-field-values "Fcc")
           when (smtps-message--program value) collect it))

(defun smtps-message--program (value)
  "Return the command in VALUE of an Fcc field, or nil if it names a file."
  (and (string-match "\\`|[ \t]*\\(.*\\)\\'" value)
       (match-string 1 value)))

(defun smtps-message-field-values (name)
  "Return the values of the header fields called NAME in the current buffer."
  (save-excursion
    (save-restriction
      (message-narrow-to-headers)
      (let ((case-fold-search t) (values nil))
        (goto-char (point-min))
        (while (re-search-forward
                (concat "^" (regexp-quote name)
                        "[ \t]*:\\(\\(?:.*\n[ \t]\\)*.*\\)")
                nil t)
          (push (string-trim (replace-regexp-in-string
                              "\n[ \t]*" " " (match-string-no-properties 1)))
                values))
        (delete "" (nreverse values))))))

(defun smtps-message-collect ()
  "Return the forms for what message.el would do with the current buffer."
  (append
   (mapcar #'smtps-message-file-form (smtps-message-field-values "Fcc"))
   (smtps-message-function-forms)))

(defun smtps-message-function-forms ()
  "Return the forms for the hook and the actions of the current buffer."
  (when (and (smtps-afterwork-defers-functions-p)
             (or (smtps-message--hooked-p) message-send-actions))
    `((action :client message :kind hook :here ,(smtps-afterwork-here)
              :what ,(string-join
                      (delq nil
                            (list (and (smtps-message--hooked-p)
                                       "what message-sent-hook does")
                                  (and message-send-actions
                                       "what message-send-actions does")))
                      " and ")))))

(defun smtps-message-file-form (value)
  "Return the form for a copy by VALUE, that of an Fcc field.
Ask whether a file is to be made that is not there."
  (let ((field (format "Fcc: %s\n" value))
        (program (smtps-message--program value))
        (path (smtps-message-path value)))
    (cond
     (program
      `(action :client message :kind program :here ,(smtps-afterwork-here)
               :what ,(format "the copy for the program %s" program)
               :command ,program :field ,field))
     ((not (smtps-message--mbox-p))
      `(fcc :kind handler :client message :path ,path :field ,field))
     (t (smtps-message-path-form path field)))))

(defun smtps-message--mbox-p ()
  "Return non-nil if Fcc is written by what comes with Emacs."
  (memq message-fcc-handler-function '(message-output rmail-output nil)))

;; Before the mail is safe, nothing may wait for a network.

(defun smtps-message-path (value)
  "Return the file name VALUE, absolute.
One on another machine stays as it is: even to expand it may connect."
  (cond ((file-remote-p value) value)
        ((and (file-remote-p default-directory)
              (not (file-name-absolute-p value)))
         (concat (file-name-as-directory default-directory) value))
        (t (expand-file-name value))))

(defun smtps-message-path-form (path field &optional create)
  "Return the form for a copy in PATH, a maildir or a file of mail.
FIELD is the header field that asks for it, text.  Where there is no such
file, it is made if CREATE, or if the user says so; else signal.  What is
on another machine is not looked at before the copy is made."
  (cond
   ((file-remote-p path)
    (smtps-message--mbox-form path field create))
   ((cl-every (lambda (part) (file-directory-p (expand-file-name part path)))
              '("cur" "new" "tmp"))
    `(fcc :kind maildir :path ,path :field ,field))
   ((file-directory-p path)
    (smtps-afterwork-refuse "Fcc: %s is a directory, and no maildir."
                            (abbreviate-file-name path)))
   ((or create (file-exists-p path))
    (smtps-message--mbox-form path field create))
   ((and (smtps-afterwork-can-ask-p)
         (smtps-message--create-p (abbreviate-file-name path)))
    (smtps-message--mbox-form path field t))
   (t (smtps-afterwork-refuse "Fcc: %s does not exist."
                              (abbreviate-file-name path)))))

(defun smtps-message--mbox-form (path field create)
  "Return the form for a copy in PATH, a file of mail, which FIELD asks for.
If CREATE, it is made where it is missing."
  `(fcc :kind mbox :client message :path ,path ,@(and create '(:create t))
        :field ,field))

(defun smtps-message--create-p (path)
  "Ask whether PATH is to be made."
  (y-or-n-p (format "Fcc: %s does not exist; create it? " path)))

(defun smtps-message-take-over ()
  "Keep message.el from doing in the current buffer what is done later."
  (smtps-afterwork-take-variable
   'smtps-message--deferred
   (list :hook message-sent-hook :actions message-send-actions
         :programs (smtps-message--programs)))
  (smtps-afterwork-take-header "Fcc")
  (when (smtps-afterwork-defers-functions-p)
    (smtps-afterwork-take-variable 'message-sent-hook nil)
    (smtps-afterwork-take-variable 'message-send-actions nil)))

;;; Later

(defun smtps-message-carry-out (form file)
  "Do FORM with the mail in FILE."
  (pcase (smtps-afterwork--get form :kind)
    ('hook (smtps-message--run))
    ('program (smtps-message--pipe (smtps-afterwork--get form :command) file))
    ((or 'mbox 'handler) (smtps-message--file form file))
    (kind (smtps-afterwork-refuse "a copy of the kind %s can't be made." kind))))

(defun smtps-message--run ()
  "Run the hook and the actions in the buffer that the mail was composed in."
  (with-current-buffer (smtps-afterwork-composed-in)
    (let ((hook (plist-get smtps-message--deferred :hook))
          (actions (plist-get smtps-message--deferred :actions)))
      ;; Some of these functions read the header.
      (smtps-afterwork-give-back)
      (let ((message-sent-hook hook))
        (save-excursion (run-hooks 'message-sent-hook)))
      (message-do-actions actions))))

(defun smtps-message--pipe (command file)
  "Pipe the mail in FILE into COMMAND, which its user has written."
  ;; What a file says is not run: only what the buffer has said.
  (unless (member command
                  (plist-get (buffer-local-value 'smtps-message--deferred
                                                 (smtps-afterwork-composed-in))
                             :programs))
    (smtps-afterwork-refuse "the mail asked for no such program."))
  (with-temp-buffer
    (smtps-afterwork-insert file)
    (let ((coding-system-for-write 'no-conversion))
      (unless (eql 0 (call-shell-region (point-min) (point-max) command))
        (smtps-afterwork-refuse "the program failed.")))))

(defun smtps-message--file (form file)
  "File the mail in FILE in the way of FORM."
  (let* ((path (smtps-afterwork--get form :path))
         (handler (eq (smtps-afterwork--get form :kind) 'handler))
         (remote (file-remote-p path))
         (buffer (ignore-errors (smtps-afterwork-composed-in))))
    (when (and remote (not smtps-afterwork-may-ask))
      (smtps-afterwork-refuse "it is on another machine, and waits for you."))
    (cond
     (handler)
     ((file-directory-p path)
      (smtps-afterwork-refuse "it is a directory, and no file of mail."))
     ((not (file-exists-p path))
      (unless (or (smtps-afterwork--get form :create)
                  ;; The others were asked about before they were sent.
                  (and remote (smtps-message--create-p path)))
        (smtps-afterwork-refuse "there is no such file."))
      (make-directory (file-name-directory path) t)))
    (unless (and smtps-afterwork-resumed (smtps-message--there-p path))
      (let ((writer (if buffer
                        (buffer-local-value 'message-fcc-handler-function buffer)
                      message-fcc-handler-function)))
        (with-temp-buffer
          (smtps-afterwork-insert file)
          (cond
           (handler (funcall writer path))
           ((memq writer '(rmail-output nil))
            (let ((mail-use-rfc822 t))
              (rmail-output path 1 t t)))
           ((let ((visiting (find-buffer-visiting path)))
              (or (and visiting
                       (provided-mode-derived-p
                        (buffer-local-value 'major-mode visiting) 'rmail-mode))
                  (and (file-readable-p path) (mail-file-babyl-p path))))
            (gnus-output-to-rmail path))
           (t (gnus-output-to-mail path))))))))

(defconst smtps-message--searched (* 4 1024 1024)
  "Octets at the end of a file of mail in which a copy is looked for.")

(defun smtps-message--there-p (path)
  "Return non-nil if the file PATH has the mail that is being filed."
  (let ((size (file-attribute-size (or (file-attributes path) '(nil))))
        (id (plist-get (smtps-outbox-find smtps-afterwork-id) :message-id))
        (case-fold-search t))
    (and size
         (with-temp-buffer
           (set-buffer-multibyte nil)
           (insert-file-contents-literally
            path nil (max 0 (- size smtps-message--searched)) size)
           (re-search-forward
            (concat "^Message-ID:[ \t\n]*" (regexp-quote id)) nil t)))))

(provide 'smtps-message)
;;; smtps-message.el ends here
